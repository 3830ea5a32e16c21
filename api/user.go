package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/gorilla/mux"

	"sipxrest/restauth"
)

// userRoutes names the resources of users.
func (a *API) userRoutes(r *mux.Router) {
	a.resource(r, "/users", methods{http.MethodGet: {do: a.listUsers, params: pageParams, laterAgent: true}})
	a.resource(r, "/users/{user}", methods{http.MethodGet: {do: a.getUser, laterAgent: true}})
}

// userDocument is a user as others may see him: no PIN, no hash, and nothing of
// whether he is there, for nobody registers here.
type userDocument struct {
	Object      string   `json:"object"` // "user"
	User        string   `json:"user"`
	Address     string   `json:"address"` // user@host
	Aliases     []string `json:"aliases"`
	DisplayName *string  `json:"display_name"`
	Policy      *string  `json:"policy"` // its name; null: he may dial everything
}

func (a *API) userDocument(u *restauth.User) userDocument {
	d := userDocument{Object: "user", User: u.Name, Address: u.Identity, Aliases: append([]string{}, u.Aliases...)}
	if u.DisplayName != "" {
		d.DisplayName = &u.DisplayName
	}
	if a.cfg.Policy != nil {
		if name := a.cfg.Policy(u); name != "" {
			d.Policy = &name
		}
	}
	return d
}

// sees reports whether the principal may see a user: himself, or by its scope those
// for whom it may act.
func (r *request) sees(u *restauth.User) bool {
	if r.who.Type == PrincipalKey {
		return r.who.Has(UsersRead) && r.who.Key.hasAgent(u)
	}
	return r.who.Agent != nil && r.who.Agent.Name == u.Name
}

// seesUsers refuses who could see no user at all.
func (r *request) seesUsers() *Problem {
	switch {
	case r.who.Type == PrincipalKey && !r.who.Has(UsersRead), r.who.Type == PrincipalPhone:
		return r.who.lacks(UsersRead)
	case r.who.Type == PrincipalPeer && r.who.Agent == nil:
		return refuse(AgentRequired)
	}
	return nil
}

// listUsers answers a page of users, by their names. A user sees himself.
func (a *API) listUsers(w http.ResponseWriter, r *request) *Problem {
	limit, after, why := r.page()
	if why == nil {
		why = r.seesUsers()
	}
	if why != nil {
		return why
	}
	// One more than the page has tells that there is another. The users are not
	// sorted in memory, so each page goes through all: limit of them are kept.
	var page []*restauth.User
	for u := range a.users.All() {
		if u.Name <= after || !r.sees(u) {
			continue
		}
		at, _ := slices.BinarySearchFunc(page, u.Name, func(v *restauth.User, name string) int { return strings.Compare(v.Name, name) })
		if at > limit {
			continue
		}
		if page = slices.Insert(page, at, u); len(page) > limit+1 {
			page = page[:limit+1]
		}
	}
	next := ""
	if len(page) > limit {
		page = page[:limit]
		next = page[limit-1].Name
	}
	data := make([]userDocument, len(page))
	for i, u := range page {
		data[i] = a.userDocument(u)
	}
	return sendPage(w, r, data, next)
}

// getUser answers one user, by any of his names. One whom the principal may not see
// is unknown to it.
func (a *API) getUser(w http.ResponseWriter, r *request) *Problem {
	if why := r.seesUsers(); why != nil {
		return why
	}
	u, ok := a.users.Lookup(r.vars("user"))
	if !ok || !r.sees(u) {
		return refuse(UserNotFound)
	}
	return send(w, http.StatusOK, a.userDocument(u))
}
