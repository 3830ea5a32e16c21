#!/bin/bash
# Runs every fuzz target for FUZZTIME, two at a time with one worker each.
#
# What comes from outside, and who reads it under which target:
#
#	SIP messages and streams, URIs, lists, Via    sipflow/wire  FuzzParse, FuzzParseAgainstSipgo, FuzzReadMessage,
#	                                                            FuzzNameAddr, FuzzURI, FuzzLists
#	what phones and strangers say, in any order   sipflow       FuzzReceive, FuzzConversation (CSeq, RSeq, Contact,
#	                                                            Record-Route, Replaces, Reason, session timers)
#	what callers and their targets say            sipflow       FuzzInbound
#	fields that are passed on to another phone    sipflow       FuzzRelayedFields
#	session descriptions                          sipflow, sdp  FuzzDescribe, FuzzHeldAnswer, FuzzRefused,
#	                                                            FuzzForAnother, FuzzBody
#	sipfrags, challenges                          sipflow       FuzzSipfrag, FuzzChallenge
#	HTTP: path, query, conditions                 callcontroller, order  FuzzRequest, FuzzParty, FuzzParams, FuzzIfNoneMatch
#	HTTP/2: frames of both directions             web           FuzzFrames
#	HTTP: Authorization, Origin, forwarded-for    restauth      FuzzAuthorization, FuzzOrigin
#	users.yaml, validusers.xml                    restauth, schema  FuzzUsers, FuzzReadValidUsers
#	other files of sipXecs                        schema        FuzzReadDomainConfig, FuzzReadSipxrestConfig
#	sipxrest.yaml, the environment                config        FuzzReadFile, FuzzEnviron
#	DNS answers, host names, hosts, resolv.conf   resolve       FuzzInterpret, FuzzParseHost, FuzzSystemFiles
#	paths, IDs and audio of calls over WebSocket  phone         FuzzPath, FuzzAudio
#	documents that we write                       schema        FuzzStatusDocuments
#	what Talk's signaling servers send           talk          FuzzReceive, FuzzRoom (people, media)
#	what Nextcloud answers                       talk          FuzzDialinAnswer
#	POST /dialout, numbers, targets; notes         dialout       FuzzOrder, FuzzNote
#	webhooks' answers, files of dispatch rules     dispatch      FuzzDecision, FuzzRules
#	session descriptions and RTP of audio calls   media         FuzzDescription, FuzzPackets, FuzzEncryptedPackets
#	Opus and RTP of participants, WAV files       media         FuzzPlayer, FuzzOpus, FuzzWAV
#	what the demo's phones hear                   siptest       FuzzReceive
#
# A parser of something new needs a line here. Packages not named look after
# their own: the targets are found, not listed.
. "$(dirname "$0")/lib.sh"
: "${FUZZTIME:=10s}"
export FUZZTIME

fuzz() { # package target
	# Shortening an interesting input takes up to a minute by default: a short run
	# would do nothing else.
	local out rc try
	for try in 1 2; do
		rc=0
		out=$(go test -run '^$' -fuzz "^$2\$" -fuzztime "$FUZZTIME" -fuzzminimizetime 50x -parallel 1 "$1" 2>&1) || rc=$?
		# A run that ends while an input is worked on says "context deadline
		# exceeded" and has found nothing: once more.
		if [ $rc != 0 ] && [ $try = 1 ] && [[ $out == *"context deadline exceeded"* && $out != *"Failing input"* ]]; then
			continue
		fi
		break
	done
	if [ $rc = 0 ]; then
		echo "ok   $1 $2: $(grep -o 'execs: [0-9]*' <<<"$out" | tail -1)"
	else
		printf 'FAIL %s %s\n%s\n' "$1" "$2" "$out"
	fi
	return $rc
}
export -f fuzz

# go test -list builds every package's tests: ask only where there is a target.
packages=$(grep -rlE --include='*_test.go' '^func Fuzz' . | xargs -r -n1 dirname | sort -u)
targets=
for p in $packages; do
	list=$(go test -list '^Fuzz' "$p") || die "fuzz: $p: $list"
	targets+=$(grep '^Fuzz' <<<"$list" | sed "s|^|$p |")$'\n'
done
targets=${targets%$'\n'}
[ -n "$targets" ] || die "fuzz: no fuzz targets found"
echo "$(wc -l <<<"$targets") fuzz targets, $FUZZTIME each"
xargs -P 2 -L 1 bash -c 'fuzz "$0" "$1"' <<<"$targets"
