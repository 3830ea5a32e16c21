// Package config makes the service's configuration: from a file, the environment,
// the command line and the files of a sipX installation.
//
// Load reads them in that order of precedence, and checks every value. Its errors
// say where a key was set, and what to write instead. A Config is plain data after
// that: who runs by it copies it, and Config.With takes over what may change while
// the service runs.
//
// The sections of features (Dialout, Dispatch, Phone) hand themselves to the
// packages that implement them: Config.DialoutConfig, DispatchConfig, MediaConfig
// and PolicyConfig.
package config
