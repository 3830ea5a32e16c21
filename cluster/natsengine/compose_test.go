package natsengine

import (
	"slices"
	"strings"
	"testing"

	"sipxrest/cluster"
)

// Each message has one condition at most, its own before others, and what is
// written has its condition at its first message.
func TestConditionsFindTheirMessage(t *testing.T) {
	a, b, c := write("a", "1"), write("b", "2"), write("c", "3")
	for name, tt := range map[string]struct {
		batch []cluster.Write
		conds []cluster.Cond
		want  string
		fails bool
	}{
		"none":      {batch: []cluster.Write{a, b}, want: "a: b:"},
		"own":       {batch: []cluster.Write{a, b}, conds: []cluster.Cond{{Subject: "b", Last: 7}}, want: "a: b:7"},
		"another's": {batch: []cluster.Write{a}, conds: []cluster.Cond{{Subject: "fence"}}, want: "a:0@fence"},
		"own goes first": {batch: []cluster.Write{a, b}, conds: []cluster.Cond{{Subject: "fence"}, {Subject: "a", Last: 1}},
			want: "a:1 b:0@fence"},
		"all": {batch: []cluster.Write{a, b, c}, conds: []cluster.Cond{{Subject: "x"}, {Subject: "b"}, {Subject: "y",
			Last: 2}}, want: "a:0@x b:0 c:2@y"},
		"more than writes":  {batch: []cluster.Write{a}, conds: []cluster.Cond{{Subject: "a"}, {Subject: "b"}}, fails: true},
		"two on one":        {batch: []cluster.Write{a, b}, conds: []cluster.Cond{{Subject: "a"}, {Subject: "a", Last: 1}}, fails: true},
		"emptied goes late": {batch: []cluster.Write{{Subject: "a"}}, want: "a:(60s)"},
	} {
		messages, err := compose(tt.batch, tt.conds)
		if (err != nil) != tt.fails {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []string
		for _, m := range messages {
			s := m.Subject + ":" + m.Header.Get(headerLast)
			if other := m.Header.Get(headerLastSubject); other != "" {
				s += "@" + other
			}
			if ttl := m.Header.Get(headerTTL); ttl != "" {
				s += "(" + ttl + ")"
			}
			got = append(got, s)
		}
		if !tt.fails && !slices.Equal(got, strings.Fields(tt.want)) {
			t.Errorf("%s: %v, not %s", name, got, tt.want)
		}
	}
}
