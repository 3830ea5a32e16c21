#!/bin/bash
# Speaks media/prompts/prompts.txt by espeak-ng and writes the built-in prompts, as
# G.722. They are checked in, so that nobody else needs espeak-ng or ffmpeg.
. "$(dirname "$0")/lib.sh"
for program in espeak-ng ffmpeg; do
	command -v "$program" >/dev/null || die "$program is missing: apt-get install espeak-ng ffmpeg"
done
speech=$(mktemp)
trap 'rm -f "$speech"' EXIT
cd media/prompts
rm -f */*.g722 # of prompts that are none any more
while IFS='|' read -r language voice name text; do
	mkdir -p "$language"
	# 155 words a minute: digits and keys are understood at a telephone's quality.
	# 3 dB less, for the loudest parts would be clipped as G.722.
	espeak-ng -b 1 -s 155 -v "$voice" -w "$speech" -- "$text"
	ffmpeg -nostdin -v error -y -i "$speech" -map_metadata -1 -bitexact -af volume=-3dB -ar 16000 -ac 1 -c:a g722 -f g722 "$language/$name.g722"
done <prompts.txt
du -cb -- */*.g722 | tail -1
