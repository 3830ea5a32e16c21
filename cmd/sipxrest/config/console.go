package config

import "sipxrest/internal/setting"

// Console is the section "console": the page at /console.
type Console struct{ Enabled bool }

// rows are the keys of the section.
func (s *Console) rows() []row {
	return []row{
		{Name: "console.enabled", Set: setting.Truth(&s.Enabled), Default: "true",
			Doc: "`false`: there is no `/console`, the page for browsers (see [console.md](console.md)). Without `api.enabled` there is none either, and none on listeners without TLS"},
	}
}

// HasConsole reports whether there is a console: it shows what the API says.
func (c *Config) HasConsole() bool { return c.API.Enabled && c.Console.Enabled }
