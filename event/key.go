package event

// keyName joins a principal and his key; neither has a zero byte.
func keyName(principal, key string) string { return principal + "\x00" + key }

// takeKey takes the key of a request for its call.
func (b *Bus) takeKey(r *Request) error {
	if r.Key == nil {
		return nil
	}
	return b.take(&KeyUse{IdempotencyKey: *r.Key, CallID: r.ID, Pending: true})
}

// take takes a key, if it is nobody's.
func (b *Bus) take(use *KeyUse) error {
	name := keyName(use.Principal, use.Key)
	b.keymu.Lock()
	if other := b.keys[name]; other != nil {
		was := *other
		b.keymu.Unlock()
		return &KeyInUseError{was}
	}
	b.keys[name] = use // before the log is asked: two may ask at once
	b.keymu.Unlock()
	old, err := b.storedKey(use.Principal, use.Key)
	if err == nil && old == nil {
		return nil
	}
	b.keymu.Lock()
	delete(b.keys, name)
	b.keymu.Unlock()
	if err != nil {
		return &StoreError{Store: b.cfg.Store, Err: err}
	}
	return &KeyInUseError{*old}
}

// storedKey is what the log has of a key.
func (b *Bus) storedKey(principal, key string) (*KeyUse, error) {
	old, err := b.store.Key(principal, key, b.cfg.Now())
	if err != nil || old == nil {
		return nil, err
	}
	b.keymu.Lock()
	defer b.keymu.Unlock()
	if call, gone := b.dropped[keyName(principal, key)]; gone && call == old.CallID {
		return nil, nil
	}
	return old, nil
}

// dropKey frees the key of a request.
func (b *Bus) dropKey(r *Request) {
	if r.Key == nil {
		return
	}
	name := keyName(r.Key.Principal, r.Key.Key)
	b.keymu.Lock()
	if use := b.keys[name]; use != nil && use.CallID == r.ID {
		delete(b.keys, name)
	}
	b.dropped[name] = r.ID // call.created may be on its way to the log
	b.keymu.Unlock()
	b.mu.Lock()
	b.pending.forget = append(b.pending.forget, forgotten{name, r.ID})
	b.mu.Unlock()
	poke(b.work)
}

type forgotten struct{ name, call string }

// keptKeys notes that keys are in the log, or no longer.
func (b *Bus) keptKeys(kept []*KeyUse, gone []forgotten) {
	if len(kept)+len(gone) == 0 {
		return
	}
	b.keymu.Lock()
	defer b.keymu.Unlock()
	for _, use := range kept {
		if name := keyName(use.Principal, use.Key); b.keys[name] != nil && b.keys[name].CallID == use.CallID {
			delete(b.keys, name)
		}
	}
	for _, f := range gone {
		if b.dropped[f.name] == f.call {
			delete(b.dropped, f.name)
		}
	}
}

// keyOf looks a key up.
func (b *Bus) keyOf(principal, key string) (*KeyUse, bool, error) {
	b.keymu.Lock()
	if use := b.keys[keyName(principal, key)]; use != nil {
		was := *use
		b.keymu.Unlock()
		return &was, true, nil
	}
	b.keymu.Unlock()
	old, err := b.storedKey(principal, key)
	return old, old != nil, err
}

// KeyOf returns what a key was used for.
func (b *Bus) KeyOf(principal, key string) (KeyUse, bool) {
	use, ok, err := b.keyOf(principal, key)
	if err != nil || !ok {
		return KeyUse{}, false
	}
	return *use, true
}

// Reserve takes a key for a request that makes no call, as an action on one. Keep or
// Release follows. It returns a *KeyInUseError, Pending while the first is at work.
func (b *Bus) Reserve(k IdempotencyKey, callID string) error {
	return b.take(&KeyUse{IdempotencyKey: k, CallID: callID, Pending: true})
}

// Keep keeps what a request with a key that was reserved got.
func (b *Bus) Keep(k IdempotencyKey, callID string, answer []byte) {
	use := &KeyUse{IdempotencyKey: k, CallID: callID, Answer: answer}
	b.keymu.Lock()
	b.keys[keyName(k.Principal, k.Key)] = use
	b.keymu.Unlock()
	b.mu.Lock()
	b.pending.keys = append(b.pending.keys, use)
	b.mu.Unlock()
	poke(b.work)
}

// Release gives a reserved key back: the request did nothing.
func (b *Bus) Release(k IdempotencyKey) {
	b.keymu.Lock()
	defer b.keymu.Unlock()
	if use := b.keys[keyName(k.Principal, k.Key)]; use != nil && use.Pending {
		delete(b.keys, keyName(k.Principal, k.Key))
	}
}
