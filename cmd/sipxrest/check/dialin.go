package check

import (
	"fmt"
	"slices"
	"strings"

	"sipxrest/cmd/sipxrest/config"
	"sipxrest/dispatch"
	"sipxrest/media/prompts"
)

// dialin tells which calls lead into Talk, and what their callers hear.
func (c *checker) dialin(cfg *config.Config) {
	if !cfg.HasDialin() {
		return
	}
	rules := 0
	if cfg.Dispatch.InUse() {
		rules = dispatch.LeadIntoTalk(cfg.DispatchConfig())
	}
	if rules == 0 {
		if slices.ContainsFunc(config.DialinKeys(), cfg.IsSet) {
			c.say(levelNote, "dialin", "nobody can call into Talk: there are no dispatch rules with transfer_to: talk:")
		}
		return
	}
	set, err := cfg.Dialin.Clips()
	if err != nil {
		c.say(levelProblem, "dialin", "%s: %v", cfg.Origin("dialin.prompts"), err)
		return
	}
	c.say(levelOK, "dialin", "%s for calls into Talk; callers are spoken to in %s, where the rule names no language", count(rules, "rule"), cfg.Dialin.Language)
	var all []string
	for _, language := range set.Languages() {
		all = append(all, language+" ("+origin(set.Own(language))+")")
	}
	c.say(levelOK, "dialin", "prompts: %s", strings.Join(all, ", "))
}

// origin says where the prompts of a language are from: own are those of a folder.
func origin(own []string) string {
	switch len(own) {
	case 0:
		return "built in"
	case len(prompts.Names):
		return "of the folder"
	}
	return fmt.Sprintf("built in, but of the folder: %s", strings.Join(own, ", "))
}
