package app

import (
	"sipxrest/cmd/sipxrest/web"
	"sipxrest/console"
)

// openConsole has the console answered on the listeners of "http", where there is the
// API that it shows.
func (a *App) openConsole() error {
	if !a.cfg.HasConsole() {
		return nil
	}
	route := web.Route{Owns: console.Owns, Handler: console.New(), Fail: console.Fail}
	a.add(feature{name: "console", stage: stageSockets, routes: func() []web.Route { return []web.Route{route} }})
	return nil
}
