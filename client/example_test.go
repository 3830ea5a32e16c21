package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"sipxrest/client"
)

// Places a call and tells how it goes, until its end.
func Example() {
	ctx := context.Background()
	c, err := client.New(client.Config{URL: "https://pbx.example:6666", User: "201", PIN: os.Getenv("PIN")})
	if err != nil {
		log.Fatal(err)
	}
	call, err := c.CreateCall(ctx, client.CreateCall{Calling: client.Address("201"), Called: client.Address("202")})
	if err != nil {
		log.Fatal(err)
	}
	for event, err := range c.CallEvents(ctx, call.ID, client.EventQuery{}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(event.Type, event.Data.Leg)
		if event.Final {
			fmt.Println(event.Data.Call.End.Message)
		}
	}
}

// Follows all calls for as long as the program runs, and goes on after a restart where it
// was.
func ExampleClient_Events() {
	ctx := context.Background()
	c, err := client.New(client.Config{URL: "https://pbx.example:6666", Key: os.Getenv("KEY")})
	if err != nil {
		log.Fatal(err)
	}
	place, _ := os.ReadFile("place") // none at first: then it begins now
	for event, err := range c.Events(ctx, client.EventQuery{After: string(place), Types: []string{"call.*"}}) {
		var gap *client.GapError
		switch {
		case errors.As(err, &gap):
			fmt.Println("read the calls again:", gap)
			continue
		case err != nil:
			log.Fatal(err)
		}
		fmt.Println(event.Type, event.Data.CallID)
		if err := os.WriteFile("place", []byte(event.ID), 0o600); err != nil {
			log.Fatal(err)
		}
	}
}

// Tells apart why a call was refused.
func ExampleProblem() {
	var c *client.Client // of client.New
	order := client.PutCall{Calling: client.Address("201"), Called: client.Telephone("+49301234567"), Caller: client.Anonymous}
	call, err := c.PutCall(context.Background(), "crm-2026-11-30-000017", order)
	var problem *client.Problem
	switch {
	case errors.Is(err, client.CodeCallInProgress) && errors.As(err, &problem):
		fmt.Println("they talk already:", problem.Existing)
	case errors.Is(err, client.CodePolicyDenied):
		fmt.Println("not allowed:", err)
	case err != nil:
		log.Fatal(err)
	default:
		fmt.Println(call.State)
	}
}

// Lists the calls that go on; pages are read as they are needed.
func ExampleClient_Calls() {
	var c *client.Client // of client.New
	query := client.CallQuery{State: []client.State{"active"}, CreatedAfter: time.Now().Add(-time.Hour)}
	for call, err := range c.Calls(context.Background(), query) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(call.ID, call.State, call.Agent)
	}
}
