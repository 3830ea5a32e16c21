#!/bin/bash
# A baresip that registers as USER at PROXY and answers by itself, for compose.yaml.
# It needs no sound card: it sends silence, and drops what it hears.
set -euo pipefail
user=$1 proxy=$2 password=${3:-demo} dir=${4:-/tmp/phone} listen=${5:-0.0.0.0:5060}
mkdir -p "$dir"
modules=$(dirname "$(find /usr/lib -name account.so -path '*baresip*' | head -n 1)")
# A WAV file of silence: an hour, so that no call outlasts it. Zeros take no room.
hour=$((8000 * 2 * 3600))
le() { for ((i = 0; i < $2; i++)); do printf "\\x$(printf %x $((($1 >> (8 * i)) & 255)))"; done; }
{
	printf RIFF; le $((hour + 36)) 4; printf 'WAVEfmt '; le 16 4
	le 1 2; le 1 2; le 8000 4; le 16000 4; le 2 2; le 16 2
	printf data; le $hour 4
} >"$dir/silence.wav"
truncate -s $((hour + 44)) "$dir/silence.wav"
cat >"$dir/config" <<END
poll_method		epoll
sip_listen		$listen
call_local_timeout	120
call_max_calls		4
audio_source		aufile,$dir/silence.wav
audio_alert		aufile,$dir/silence.wav
audio_path		$dir
module_path		$modules
module			g711.so
module			aufile.so
module_tmp		account.so
module_app		menu.so
statmode_default	on
menu_bell		no
ringback_disabled	yes
END
echo "<sip:$user@sipx.test>;auth_pass=$password;outbound=\"sip:$proxy\";answermode=auto;regint=60" >"$dir/accounts"
: >"$dir/contacts"
exec baresip -4 -s -f "$dir"
