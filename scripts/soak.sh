#!/bin/bash
# What takes long to go wrong: calls over networks that lose, repeat and
# reorder packets, with seeds of their own each time; then RATE calls a second
# for SOAK seconds, and what finished calls leave in memory. All parts run, even
# when one failed. A seed that failed is in the test's name; to see it again:
#
#	go test ./sipflow -run TestGoodPhones -chaos.seed SEED -chaos.seeds 1
. "$(dirname "$0")/lib.sh"
: "${SOAK:=1800}" "${RATE:=300}"
failed=0
seed=$RANDOM$RANDOM
echo "seed $seed"
go test -timeout 2h ./sipflow -run '^(TestSoak|TestGoodPhones.*|TestAStorm.*|TestShuttingDownIn.*)$' \
	-soak $((SOAK * 6)) -soak.seed "$seed" -chaos.seed "$seed" -chaos.seeds $((SOAK / 10 + 1)) || failed=1
# Several nodes: a thousand calls, then faults at random for CLUSTER_SOAK seconds.
: "${CLUSTER_SOAK:=3600}"
cluster() { PATH=$PATH:/usr/sbin go test -tags interop -count=1 -timeout 3h -v "$@" ./cmd/sipxrest/interop/ || failed=1; }
CLUSTER_CALLS=1000 CLUSTER_LONG=1 cluster -parallel 1 \
	-run '^(TestCallsOutliveTheirNode|TestCallsAreHungUp.*|TestNodeThat.*|TestNodeIs.*|TestStore.*|TestRolling.*|TestWebhooksTell.*)$'
CLUSTER_SOAK=$CLUSTER_SOAK cluster -run '^TestClusterSoak$'
bench/run.sh step sipxrest "$RATE" "$SOAK" || failed=1
bench/run.sh leak sipxrest || failed=1
exit $failed
