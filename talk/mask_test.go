package talk

import "testing"

func TestTokensInLogsAreMasked(t *testing.T) {
	for token, want := range map[string]string{"4271953862": "…862", "12345": "…", "": "…", "abcdefg": "…efg"} {
		if got := Masked(token); got != want {
			t.Errorf("%s: %s, want %s", token, got, want)
		}
	}
}
