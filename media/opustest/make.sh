#!/bin/bash
# Makes the .opus files of this folder again, by libopus' own encoder: opusenc, or
# ffmpeg where opusenc cannot be told the length of a packet. Needs opus-tools,
# ffmpeg and espeak-ng. Ogg files, so that any player plays them.
#
# speech.levels is what libopus' own decoder makes of speech.opus: the energy of
# each 20 ms, as 10 log10 of the mean square of samples at 16 kHz.
set -euo pipefail
cd "$(dirname "$0")"
out=$PWD
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
cd "$work"
quiet="-hide_banner -loglevel error -y"

sine() { # hertz seconds file: an eighth of full scale, -18 dBFS
	ffmpeg $quiet -f lavfi -i "sine=frequency=$1:sample_rate=48000:duration=$2" -c:a pcm_s16le "$3"
}
enc() { # file options…
	local to=$1 from=$2
	shift 2
	opusenc --quiet --serial 1 --discard-comments --discard-pictures "$@" "$from" "$out/$to.opus" 2>/dev/null
}
ff() { # file from options…
	local to=$1 from=$2
	shift 2
	ffmpeg $quiet -i "$from" -map_metadata -1 -fflags +bitexact -c:a libopus "$@" "$out/$to.opus"
}

sine 400 1 400.wav
sine 600 1 600.wav
sine 1000 1 1000.wav
sine 1500 1 1500.wav
sine 1000 0.6 short.wav
ffmpeg $quiet -i 400.wav -i 1000.wav -filter_complex "[0:a][1:a]join=inputs=2:channel_layout=stereo" -c:a pcm_s16le stereo.wav
espeak-ng -v en-us -s 170 -w said.wav "The quick brown fox jumps over the lazy dog."
ffmpeg $quiet -i said.wav -ar 48000 speech.wav
espeak-ng -v en-us -s 170 -w yes.wav "Yes."
ffmpeg $quiet -i yes.wav -ar 48000 -af "apad=pad_dur=1.5" yes48.wav
ffmpeg $quiet -i yes48.wav -i yes48.wav -filter_complex "concat=n=2:v=0:a=1" -c:a pcm_s16le pauses.wav

# what browsers send: 20 ms, 32 kbit/s, full band, with what helps against losses
for hz in 400 600 1000 1500; do ff "tone-$hz" "$hz.wav" -b:a 32k -application voip -fec 1 -packet_loss 10; done
enc speech speech.wav --bitrate 32 --speech
enc dtx pauses.wav --bitrate 24 --speech --set-ctl-int 4016=1 # OPUS_SET_DTX

# every length of a packet: above 60 ms there are several frames in it
for ms in 2.5 5 10; do ff "frame-$ms" short.wav -b:a 32k -application lowdelay -frame_duration $ms; done
for ms in 20 40 60 80 100 120; do ff "frame-$ms" short.wav -b:a 24k -application voip -frame_duration $ms; done

# every bandwidth (OPUS_SET_MAX_BANDWIDTH), as speech and as music: SILK, both, CELT
n=1101
for band in nb mb wb swb fb; do
	enc "speech-$band" short.wav --bitrate 24 --speech --set-ctl-int 4004=$n
	enc "music-$band" short.wav --bitrate 48 --music --set-ctl-int 4004=$n
	n=$((n + 1))
done

# 400 Hz on the left, 1000 Hz on the right
enc stereo-speech stereo.wav --bitrate 40 --speech
enc stereo-music stereo.wav --bitrate 96 --music

opusdec --quiet --force-wav --rate 16000 "$out/speech.opus" speech16.wav
ffmpeg $quiet -i speech16.wav -f s16le -ac 1 speech.raw
od -An -v -w640 -td2 speech.raw | awk 'NF == 320 { s = 0; for (i = 1; i <= NF; i++) s += $i * $i; printf "%.1f\n", s ? 10 * log(s / NF) / log(10) : 0 }' >"$out/speech.levels"
