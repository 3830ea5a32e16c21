package event

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"sipxrest/internal/fault"
	"sipxrest/internal/webhook"
)

// MaxSecrets bounds the secrets of a webhook that sign.
const MaxSecrets = 3

// MaxSecretOverlap and SecretOverlap are how long the secrets before a new one go on signing, at
// most and by default.
const (
	MaxSecretOverlap = 7 * 24 * time.Hour
	SecretOverlap    = 24 * time.Hour
)

// webhook returns it as it is shown.
func (h *hook) shown() Webhook {
	elsewhere, away := h.o.statusOf(h)
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.rec
	if away {
		h.status = elsewhere
	}
	w := Webhook{ID: r.id, Object: "webhook", WebhookSpec: r.spec.clone(), Enabled: h.status.State != WebhookOff, Origin: r.origin, CallID: r.call, Owner: r.owner,
		CreatedAt: At(r.made), Status: h.status, Secrets: []WebhookSecret{}}
	for name := range w.Headers {
		w.Headers[name] = redacted // it may be a password
	}
	now := h.o.now()
	for _, s := range r.secrets {
		if !s.retires.IsZero() && !s.retires.After(now) {
			continue
		}
		k := WebhookSecret{ID: s.id, CreatedAt: At(s.made)}
		if !s.retires.IsZero() {
			k.RetiresAt = At(s.retires)
		}
		if r.spec.Ed25519 {
			k.PublicKey = s.key.PublicKey()
		}
		w.Secrets = append(w.Secrets, k)
	}
	return w
}

// Webhooks returns all webhooks but those of single calls, the newest first.
func (o *Outbox) Webhooks() []Webhook {
	var list []Webhook
	for _, h := range o.all() {
		if w := h.shown(); w.Origin != OriginCall {
			list = append(list, w)
		}
	}
	slices.SortFunc(list, func(a, b Webhook) int {
		if c := b.CreatedAt.Compare(a.CreatedAt.Time); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return list
}

// Webhook returns one; ErrNoWebhook if there is none.
func (o *Outbox) Webhook(id string) (Webhook, error) {
	h := o.find(id)
	if h == nil {
		return Webhook{}, ErrNoWebhook
	}
	return h.shown(), nil
}

// CheckWebhook returns what is wrong with a webhook that somebody wants, each with
// its member.
func (o *Outbox) CheckWebhook(w *WebhookSpec) []*fault.Fault { return w.Check(o.networks()) }

// PrivateURL reports whether an error says that an address is not for webhooks.
func PrivateURL(err error) bool {
	var private *webhook.PrivateError
	return errors.As(err, &private)
}

// ProbeWebhook says what is wrong with the URL of a webhook: it is looked up and
// connected to, but nothing is sent.
func ProbeWebhook(ctx context.Context, resolver *net.Resolver, url string, private []netip.Prefix) error {
	if err := webhook.ProbePost(ctx, resolver, url, private); err != nil {
		return err
	}
	p := webhook.NewPoster("", resolver, func() []netip.Prefix { return private }, nil)
	defer p.Close()
	return p.Connect(ctx, url)
}

// ProbeURL looks the name of a URL up, and says what is wrong with what it finds. It
// takes two seconds at most; a name that is not found may be found later.
func (o *Outbox) ProbeURL(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	err := webhook.ProbePost(ctx, o.lookup, url, o.networks())
	var private *webhook.PrivateError
	if errors.As(err, &private) {
		return private
	}
	return nil
}

// Create makes a webhook that is told of what comes after a cursor; zero: of what
// comes from now on. It returns the secret, which nobody sees again; without text
// one is made. spec was checked.
func (o *Outbox) Create(spec WebhookSpec, owner, text string, after Cursor) (Webhook, string, error) {
	o.changing.Lock()
	defer o.changing.Unlock()
	if o.countOf(false) >= MaxWebhooks {
		return Webhook{}, "", ErrTooManyWebhooks
	}
	if after.IsZero() {
		after = o.log.Head()
	} else if _, _, err := o.log.Events(Filter{}, after, 1); err != nil {
		return Webhook{}, "", err
	}
	key := webhook.NewSigningKey()
	if text != "" {
		var err error
		if key.HMAC, err = webhook.ParseSecret(text); err != nil {
			return Webhook{}, "", &fault.Fault{Key: "secret", Err: err}
		}
	}
	now := o.now()
	r := &hookRecord{id: "wh_" + strings.ToLower(rand.Text()), origin: OriginAPI, owner: owner, spec: spec.clone(), made: now,
		secrets: []secret{{id: "s1", key: key, made: now}}, hookState: hookState{enabled: true, state: WebhookOK}, cursor: after.String()}
	if err := o.store.saveHook(r); err != nil {
		return Webhook{}, "", err
	}
	return o.add(r).shown(), key.Secret(), nil
}

// countOf is how many webhooks there are, of single calls or all others.
func (o *Outbox) countOf(call bool) (n int) {
	for _, h := range o.all() {
		if (h.record().origin == OriginCall) == call {
			n++
		}
	}
	return n
}

// ForCall makes a webhook of a single call, before that is placed; signed by a
// secret of whoever asks. ForgetCall undoes it where nothing came of the call. Else
// it goes by itself.
func (o *Outbox) ForCall(call string, spec WebhookSpec, owner, secretText string) error {
	key, err := webhook.ParseSecret(secretText)
	if err != nil {
		return err
	}
	o.changing.Lock()
	defer o.changing.Unlock()
	if o.countOf(true) >= MaxCallWebhooks {
		return ErrTooManyWebhooks
	}
	now := o.now()
	r := &hookRecord{id: callHook(call), origin: OriginCall, owner: owner, call: call, spec: spec.clone(), made: now,
		secrets:   []secret{{id: "s1", key: webhook.SigningKey{HMAC: key}, made: now}},
		hookState: hookState{enabled: true, state: WebhookOK}, cursor: o.log.Head().String()}
	if o.find(r.id) != nil {
		return ErrTooManyWebhooks // the call's id is in use, which the bus will say
	}
	if err := o.store.saveHook(r); err != nil {
		return err
	}
	o.add(r)
	return nil
}

// ForgetCall undoes ForCall.
func (o *Outbox) ForgetCall(call string) {
	o.changing.Lock()
	defer o.changing.Unlock()
	if h := o.find(callHook(call)); h != nil {
		if err := o.remove(h); err != nil {
			o.storeFailed(err) // it goes at the next start
		}
	}
}

// callHook is the id of the webhook of a call.
func callHook(call string) string { return hookID("call", call) }

func hookID(kind, name string) string {
	sum := sha256.Sum256([]byte(kind + "\n" + name))
	return "wh_" + hex.EncodeToString(sum[:13])
}

// change has a webhook be another one. f changes a copy of its record; it must not
// change what it finds in it.
func (o *Outbox) change(id string, configured bool, f func(r *hookRecord) error) (w Webhook, err error) {
	for range changeTries {
		if w, err = o.changeOnce(id, configured, f); !errors.Is(err, ErrTaken) {
			return w, err
		}
		time.Sleep(changePause) // in a cluster another node was first: what it has changed is on its way
		o.syncHooks()
	}
	return w, fmt.Errorf("%w: another node changes the webhook, too", ErrNotNow)
}

const (
	changeTries = 20
	changePause = 50 * time.Millisecond
)

func (o *Outbox) changeOnce(id string, configured bool, f func(r *hookRecord) error) (Webhook, error) {
	o.changing.Lock()
	defer o.changing.Unlock()
	h := o.find(id)
	if h == nil {
		return Webhook{}, ErrNoWebhook
	}
	h.mu.Lock()
	r := *h.rec
	h.mu.Unlock()
	if r.origin == OriginConfig && !configured {
		return Webhook{}, ErrReadOnly
	}
	r.hookState = h.stateNow()
	before := r.hookState
	if err := f(&r); err != nil {
		return Webhook{}, err
	}
	if err := o.store.saveHook(&r); err != nil {
		return Webhook{}, err
	}
	h.mu.Lock()
	h.rec = &r
	if r.hookState != before {
		st := r.hookState
		h.state, h.known = &st, st
		h.status.State = st.state
	}
	h.mu.Unlock()
	h.wake()
	return h.shown(), nil
}

// stateNow is how the webhook fares, as far as others can tell.
func (h *hook) stateNow() hookState {
	if st, away := h.o.stateOf(h); away {
		return st
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.known
}

// enable and disable a record.
func (r *hookRecord) enable(on bool, now time.Time) {
	switch {
	case on:
		r.hookState = hookState{enabled: true, state: WebhookOK}
	default:
		r.enabled, r.state, r.since, r.lastErr = false, WebhookOff, now, "disabled by request"
	}
}

// redacted stands for the value of a header.
const redacted = "[redacted]"

// sameReceiver reports whether two URLs lead to the same server.
func sameReceiver(a, b string) bool {
	one, err := url.Parse(a)
	if err != nil {
		return false
	}
	other, err := url.Parse(b)
	return err == nil && one.Scheme == other.Scheme && strings.EqualFold(one.Host, other.Host)
}

// Change changes what a client chooses of a webhook, and whether it is enabled; nil
// leaves that as it is. What waits goes to the new URL.
func (o *Outbox) Change(id string, spec WebhookSpec, enabled *bool) (Webhook, error) {
	return o.change(id, false, func(r *hookRecord) error {
		old := r.spec
		r.spec = spec.clone()
		for name, value := range r.spec.Headers { // as they were shown
			secret, ok := old.Headers[name]
			if !ok || value != redacted {
				continue
			}
			if !sameReceiver(old.URL, spec.URL) {
				return &fault.Fault{Key: "headers", Err: fmt.Errorf("the url is another server's now, which must not get what was for the old one: give %s again, or {}", name)}
			}
			r.spec.Headers[name] = secret
		}
		if enabled != nil && *enabled != r.enabled {
			r.enable(*enabled, o.now())
		}
		return nil
	})
}

// Enable takes a webhook up again, from where it was.
func (o *Outbox) Enable(id string) (Webhook, error) {
	return o.change(id, true, func(r *hookRecord) error {
		r.enable(true, o.now())
		return nil
	})
}

// Delete forgets a webhook, and what waits for it.
func (o *Outbox) Delete(id string) error {
	o.changing.Lock()
	defer o.changing.Unlock()
	h := o.find(id)
	switch {
	case h == nil:
		return ErrNoWebhook
	case h.record().origin == OriginConfig:
		return ErrReadOnly
	}
	return o.remove(h)
}

// Rotate makes another secret, which it returns; those before go on signing, too,
// for overlap. Without text one is made at random.
func (o *Outbox) Rotate(id string, overlap time.Duration, text string) (w Webhook, made string, err error) {
	key := webhook.NewSigningKey()
	if text != "" {
		if key.HMAC, err = webhook.ParseSecret(text); err != nil {
			return Webhook{}, "", &fault.Fault{Key: "secret", Err: err}
		}
	}
	w, err = o.change(id, false, func(r *hookRecord) error {
		now := o.now()
		live := r.live(now)
		if len(live) >= MaxSecrets && overlap > 0 {
			return ErrSecretInUse
		}
		list := []secret{{id: nextSecret(r.secrets), key: key, made: now}}
		for _, s := range live {
			if until := now.Add(overlap); s.retires.IsZero() || until.Before(s.retires) {
				s.retires = until
			}
			if s.retires.After(now) {
				list = append(list, s)
			}
		}
		r.secrets = list
		return nil
	})
	return w, key.Secret(), err
}

// live are the secrets that sign now.
func (r *hookRecord) live(now time.Time) (list []secret) {
	for _, s := range r.secrets {
		if s.retires.IsZero() || s.retires.After(now) {
			list = append(list, s)
		}
	}
	return list
}

// nextSecret is a name that no secret has had.
func nextSecret(list []secret) string {
	most := 0
	for _, s := range list {
		var n int
		if _, err := fmt.Sscanf(s.id, "s%d", &n); err == nil {
			most = max(most, n)
		}
	}
	return fmt.Sprintf("s%d", most+1)
}

// Retire ends a secret early. The newest one stays.
func (o *Outbox) Retire(id, name string) (Webhook, error) {
	return o.change(id, false, func(r *hookRecord) error {
		now := o.now()
		i := slices.IndexFunc(r.secrets, func(s secret) bool { return s.id == name && (s.retires.IsZero() || s.retires.After(now)) })
		if i <= 0 {
			return ErrNoSecret
		}
		r.secrets = slices.Delete(slices.Clone(r.secrets), i, i+1)
		return nil
	})
}

// checkConfigured returns what is wrong with webhooks of the configuration.
func checkConfigured(private []netip.Prefix, list []ConfiguredWebhook) error {
	var errs []error
	names := map[string]bool{}
	if len(list) > MaxWebhooks {
		errs = append(errs, fmt.Errorf("%d: %d are the most", len(list), MaxWebhooks))
	}
	for i := range list {
		w := list[i]
		for _, f := range w.Check(private) {
			errs = append(errs, fmt.Errorf("%s: %w", w.Name, f))
		}
		if names[w.Name] {
			errs = append(errs, fmt.Errorf("two are called %s: rename one", w.Name))
		}
		names[w.Name] = true
		if len(w.Secrets) == 0 || len(w.Secrets) > MaxSecrets {
			errs = append(errs, fmt.Errorf("%s: secret-file has %d secrets: write 1 to %d lines, the newest first", w.Name, len(w.Secrets), MaxSecrets))
		}
		for n, text := range w.Secrets {
			if _, err := webhook.ParseSecret(text); err != nil {
				errs = append(errs, fmt.Errorf("%s: line %d of secret-file: %w", w.Name, n+1, err))
			}
		}
	}
	return errors.Join(errs...)
}

// CheckConfigured returns what is wrong with webhooks of the configuration.
func CheckConfigured(private []netip.Prefix, list []ConfiguredWebhook) error {
	return checkConfigured(private, list)
}

// configure has the webhooks of the configuration be those of a list.
func (o *Outbox) configure(list []ConfiguredWebhook) error {
	if err := checkConfigured(o.networks(), list); err != nil {
		return err
	}
	o.changing.Lock()
	defer o.changing.Unlock()
	now := o.now()
	wanted := map[string]bool{}
	for i := range list {
		c := &list[i]
		id := hookID("config", c.Name)
		wanted[id] = true
		old := o.find(id)
		r := &hookRecord{id: id, origin: OriginConfig, made: now, hookState: hookState{enabled: true, state: WebhookOK}, cursor: o.log.Head().String()}
		if old != nil {
			*r = *old.record()
			r.hookState = old.stateNow()
			if errors.Is(r.unreadable, errSealed) { // the configuration has its secrets
				r.enable(true, now)
			}
		}
		r.unreadable = nil
		before := r.hookState
		r.spec = c.clone()
		r.secrets = configuredSecrets(id, c.Secrets, r.secrets, now)
		if err := o.store.saveHook(r); err != nil {
			return err
		}
		if old == nil {
			o.add(r)
			continue
		}
		old.mu.Lock()
		old.rec = r
		if r.hookState != before {
			st := r.hookState
			old.state, old.known = &st, st
			old.status.State = st.state
		}
		old.mu.Unlock()
		old.wake()
	}
	for _, h := range o.all() {
		if r := h.record(); r.origin == OriginConfig && !wanted[r.id] {
			if err := o.remove(h); err != nil {
				return err
			}
		}
	}
	return nil
}

// configuredSecrets are keys of a file; those that were there before keep their
// names. The key of v1a follows from the secret, so that it is the same after a
// restart.
func configuredSecrets(hook string, texts []string, before []secret, now time.Time) (list []secret) {
	all := slices.Clone(before)
	for i := len(texts) - 1; i >= 0; i-- { // the oldest has the lowest name
		hmac, err := webhook.ParseSecret(texts[i])
		if err != nil {
			continue // checked before
		}
		s := secret{id: nextSecret(all), made: now}
		if j := slices.IndexFunc(before, func(b secret) bool { return string(b.key.HMAC) == string(hmac) }); j >= 0 {
			s = before[j]
		}
		seed := sha256.Sum256(append([]byte("sipxrest v1a "+hook+"\n"), hmac...))
		s.key = webhook.SigningKey{HMAC: hmac, Ed25519: seed[:]}
		s.retires = time.Time{}
		all = append(all, s)
		list = append([]secret{s}, list...)
	}
	return list
}
