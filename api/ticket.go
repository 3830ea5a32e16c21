package api

// byTicket lets in who has a stream ticket.
func (a *API) byTicket(r *request, ticket string) (*Principal, *Problem) {
	return nil, a.unauthenticated(r.Request).because("The ticket was used, or has expired; get a new one.")
}
