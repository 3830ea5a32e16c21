# The targets are one shell script each where they are more than a line, so that
# they can be read and run alone. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
export FUZZTIME ?= 10m
export SOAK ?= 1800
export RATE ?= 300
# What `sipxrest version` says: the tag, where the sources have one, and the revision.
BUILD := sipxrest/cmd/sipxrest/version
TAG = $(shell git describe --tags --dirty 2>/dev/null)
REVISION = $(shell git describe --always --dirty --abbrev=12 --exclude '*' 2>/dev/null)
VERSION = -X '$(BUILD).linked=$(TAG)' -X '$(BUILD).linkedRevision=$(REVISION)'

.PHONY: help setup build install release demo demo-cluster prompts check unit interop fuzz-short fuzz test bench soak clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install what the tests need (Kamailio, baresip, Linphone, SIPp, curl, Chromium, Janus, Node, Python, PHP, shells) by apt-get, only what is missing
	@scripts/setup.sh

build: ## bin/sipxrest
	go build -trimpath -ldflags "$(VERSION)" -o bin/sipxrest ./cmd/sipxrest

install: ## bin/sipxrest, the systemd unit and an example configuration into the system, or below DESTDIR
	@scripts/install.sh

release: ## static programs, .deb packages, SBOMs and checksums into bin/release, the same bytes each time
	@scripts/release.sh

demo: build ## sipxrest with everything it needs in one process, to try it
	bin/sipxrest demo

demo-cluster: build ## three nodes and three stores: a call outlives the node that made it
	bin/sipxrest demo --cluster

prompts: ## the built-in prompts, spoken anew by espeak-ng; needs ffmpeg, too
	@scripts/prompts.sh

check: ## gofmt, vet, staticcheck, builds for other systems and quick unit tests: before each commit
	@scripts/gofmt.sh
	@scripts/lint.sh
	go test ./...

unit: ## what check does, with all tests and the race detector; needs Go alone
	@scripts/unit.sh

interop: ## tests with Kamailio, baresip, Linphone, SIPp, curl, Chromium and Janus; needs `make setup`
	@scripts/interop.sh

fuzz-short: ## each fuzz target for 10 s
	@FUZZTIME=10s scripts/fuzz.sh

fuzz: ## each fuzz target for FUZZTIME (10m)
	@scripts/fuzz.sh

test: ## setup, unit (with the fuzz targets' corpora), interop and a summary: what CI runs
	@scripts/test.sh

bench: ## Go benchmarks
	go test -run '^$$' -bench . -benchmem ./...
	@echo; echo "Load, side by side with Kamailio and SIPp: bench/run.sh all kamailio-url sipxrest sipp (see bench/README.md)"

soak: ## SOAK (1800) seconds of load at RATE (300) calls per second, what it leaves in memory, before that calls over bad networks, more with SOAK, and several nodes with faults at random for CLUSTER_SOAK (3600) seconds
	@scripts/soak.sh

clean: ## remove what was built
	rm -rf bin bench/out
	go clean -testcache
