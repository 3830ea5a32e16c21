package restauth

import "testing"

func TestAPlusBeforeANumberIsNoBlank(t *testing.T) {
	for _, tt := range []struct {
		raw, want string
		ok        bool
	}{
		{"+4930123456", "+4930123456", true},
		{"%2B4930123456", "+4930123456", true},
		{"tel:+4930", "tel:+4930", true},
		{"TEL%3a+4930", "TEL:+4930", true},
		{"sip:+4930@pbx.example", "sip:+4930@pbx.example", true},
		{"+49+30+123", "+49 30 123", true},
		{"++49", "+49", true}, // " +49", not escaped at all
		{"%20+49", "+49", true},
		{"+%2049", "49", true},
		{"%204930", "4930", true},
		{"202+", "202", true},
		{"%C2%A0202%20", "202", true},
		{"+bob", "bob", true},
		{"201", "201", true},
		{"+", "", true},
		{"", "", true},
		{"201%0D%0A", "201\r\n", true},
		{"+49%zz", "+49%zz", false},
	} {
		got, ok := UserParam(tt.raw)
		if got != tt.want || ok != tt.ok {
			t.Errorf("%q: %q, %v, want %q, %v", tt.raw, got, ok, tt.want, tt.ok)
		}
	}
}
