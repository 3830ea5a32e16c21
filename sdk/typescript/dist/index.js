export { Client } from "./client.js";
export { ProblemError } from "./problem.js";
