package client

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// described is what of the description the methods are compared with.
type described struct {
	Paths map[string]map[string]yaml.Node
}

type operation struct {
	OperationID string `yaml:"operationId"`
	Parameters  []struct {
		Ref  string `yaml:"$ref"`
		Name string
	}
}

// Each operation of the description has a method that asks it, and no method asks anything
// else.
func TestEachOperationHasAMethod(t *testing.T) {
	ctx := t.Context()
	c, s := scripted(t, Config{Attempts: 1})
	for _, ask := range []func(){
		func() { _, _ = c.CreateCall(ctx, CreateCall{}) },
		func() { _, _ = c.PutCall(ctx, "{id}", PutCall{}) },
		func() { _, _ = c.CheckCall(ctx, CheckCall{}) },
		func() { _, _ = c.Call(ctx, "{id}") },
		func() { c.Calls(ctx, CallQuery{})(func(Call, error) bool { return false }) },
		func() { _, _ = c.PatchCall(ctx, "{id}", PatchCall{}) },
		func() { _, _ = c.HangUp(ctx, "{id}") },
		func() { _, _ = c.act(ctx, "{id}", "{action}", nil, nil) },
		func() { _, _ = c.Transfer(ctx, "{id}", CreateTransfer{}) },
		func() { c.Transfers(ctx, "{id}")(func(Transfer, error) bool { return false }) },
		func() { _, _ = c.TransferByID(ctx, "{id}", "{tid}") },
		func() { _, _ = c.CancelTransfer(ctx, "{id}", "{tid}") },
		func() { _, _ = c.CompleteTransfer(ctx, "{id}", "{tid}") },
		func() { _, _ = c.Messages(ctx, "{id}") },
		func() { c.Events(ctx, EventQuery{Snapshot: true})(func(Event, error) bool { return false }) },
		func() { c.CallEvents(ctx, "{id}", EventQuery{})(func(Event, error) bool { return false }) },
		func() { _, _ = c.StreamTicket(ctx, CreateStreamTicket{}) },
		func() { _, _ = c.Me(ctx) },
		func() { c.Users(ctx)(func(User, error) bool { return false }) },
		func() { _, _ = c.UserByName(ctx, "{user}") },
		func() { c.Records(ctx, RecordQuery{})(func(Record, error) bool { return false }) },
		func() { _, _ = c.RecordOf(ctx, "{call_id}") },
		func() { _, _ = c.ExportRecords(ctx, RecordQuery{}) },
		func() { c.Webhooks(ctx)(func(Webhook, error) bool { return false }) },
		func() { _, _ = c.CreateWebhook(ctx, CreateWebhook{}) },
		func() { _, _ = c.WebhookByID(ctx, "{webhook}") },
		func() { _, _ = c.PatchWebhook(ctx, "{webhook}", PatchWebhook{}) },
		func() { _ = c.DeleteWebhook(ctx, "{webhook}") },
		func() { _, _ = c.RotateSecret(ctx, "{webhook}", RotateSecret{}) },
		func() { _, _ = c.TestWebhook(ctx, "{webhook}", TestWebhook{}) },
		func() { _, _ = c.EnableWebhook(ctx, "{webhook}") },
		func() { c.Deliveries(ctx, "{webhook}", DeliveryQuery{})(func(Delivery, error) bool { return false }) },
		func() { _, _ = c.ReplayWebhook(ctx, "{webhook}", ReplayWebhook{}) },
		func() { _, _ = c.InboundRules(ctx) },
		func() { _, _ = c.TryInbound(ctx, TryInbound{}) },
		func() { _, _ = c.Health(ctx) },
	} {
		before := len(s.seen)
		if ask(); len(s.seen) != before+1 {
			t.Errorf("%d requests after the %dth", len(s.seen)-before, before)
		}
	}
	var asked, want []string
	for _, r := range s.seen {
		asked = append(asked, r.Method+" "+r.URL.Path)
	}
	for path, item := range description(t).Paths {
		for method := range item {
			if method != "parameters" && !strings.HasSuffix(path, "api.yaml") {
				want = append(want, strings.ToUpper(method)+" "+path)
			}
		}
	}
	slices.Sort(asked)
	slices.Sort(want)
	if !slices.Equal(asked, want) || len(want) < 30 {
		t.Errorf("the methods ask\n%s\nthe description has\n%s", strings.Join(asked, "\n"), strings.Join(want, "\n"))
	}
}

// Queries have the parameters of the description, and no others.
func TestQueriesHaveTheParametersOfTheDescription(t *testing.T) {
	// Other names of the same, what the client itself sends, and what it does not ask for.
	left := []string{"created_after", "created_before", "updated_after", "limit", "format", "ticket"}
	for path, query := range map[string][]any{
		"/v1/calls":                         {CallQuery{}},
		"/v1/cdrs":                          {RecordQuery{}, "fields", "safe"},
		"/v1/cdrs.csv":                      {RecordQuery{}, "cursor"},
		"/v1/webhooks/{webhook}/deliveries": {DeliveryQuery{}},
		"/v1/events":                        {EventQuery{}, "agent"},
	} {
		var has []string
		fields := reflect.TypeOf(query[0])
		for i := range fields.NumField() {
			if name := fields.Field(i).Tag.Get("query"); !slices.Contains(query[1:], any(name)) {
				has = append(has, name)
			}
		}
		names := parameters(t, path)
		for _, n := range names {
			if !slices.Contains(has, n) && !slices.Contains(left, n) {
				t.Errorf("%s: there is no field for %s", path, n)
			}
		}
		for _, n := range has {
			if !slices.Contains(names, n) {
				t.Errorf("%s: the description has no parameter %s", path, n)
			}
		}
	}
}

func description(t *testing.T) (d described) {
	t.Helper()
	text, err := os.ReadFile("../api/openapi.yaml")
	if err == nil {
		err = yaml.Unmarshal(text, &d)
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// parameters are the names of what a GET takes in its query.
func parameters(t *testing.T, path string) (names []string) {
	t.Helper()
	var all struct {
		Components struct {
			Parameters map[string]struct{ Name, In string }
		}
	}
	text, err := os.ReadFile("../api/openapi.yaml")
	if err == nil {
		err = yaml.Unmarshal(text, &all)
	}
	node, op := description(t).Paths[path]["get"], operation{}
	if err == nil {
		err = node.Decode(&op)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range op.Parameters {
		if found := all.Components.Parameters[strings.TrimPrefix(p.Ref, "#/components/parameters/")]; found.In == "query" {
			names = append(names, strings.TrimSuffix(found.Name, ".*"))
		}
	}
	if len(names) < 4 {
		t.Fatalf("%s has %q", path, names)
	}
	return names
}
