#!/bin/sh
# Runs the runtime and its tests on 64-bit ARM, emulated: the base wheel with its aarch64 dependencies, in a Debian of
# its own. Needs root, debootstrap, qemu-user-static and network; takes a few minutes. Times that are measured under
# emulation mean nothing.
#
#   tests/device/aarch64.sh [FOLDER] [PYTEST ARGUMENTS...]      FOLDER: for the Debian, kept for the next run
set -eu

root=$(realpath -m "${1:-/var/tmp/quietframe-arm64}")
[ $# -gt 0 ] && shift
here=$(CDPATH= cd -- "$(dirname -- "$0")/../.." && pwd)
suite=bookworm
python=3.11

[ "$(id -u)" = 0 ] || { echo "aarch64.sh: needs root, for a chroot" >&2; exit 2; }
for program in debootstrap qemu-aarch64-static; do
    command -v $program > /dev/null || { echo "aarch64.sh: $program is missing: apt-get install debootstrap qemu-user-static" >&2; exit 2; }
done

# The kernel hands ARM programs to qemu. Flag F: it is opened now, so that the chroot need not hold it.
binfmt=/proc/sys/fs/binfmt_misc
[ -e $binfmt/register ] || mount -t binfmt_misc binfmt_misc $binfmt
[ -e $binfmt/qemu-aarch64 ] || printf '%s' ':qemu-aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/bin/qemu-aarch64-static:F' > $binfmt/register

if [ ! -e "$root/usr/bin/python3" ]; then
    debootstrap --arch=arm64 --foreign --variant=minbase --include=python3,libgomp1 $suite "$root"
    chroot "$root" /debootstrap/debootstrap --second-stage
fi

# The wheel, its base dependencies for ARM, and what the tests need.
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
python3 -m pip --quiet wheel --no-deps --wheel-dir "$wheels" "$here"
target=$root/opt/quietframe
rm -rf "$target" "$root/opt/tests"
python3 -m pip --quiet install --target "$target" --only-binary=:all: --python-version $python \
    --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux2014_aarch64 \
    "$wheels"/quietframe-*.whl pytest hypothesis
rm -rf "$root/opt/docs"
cp -r "$here/tests" "$here/docs" "$root/opt"
cp "$here/pyproject.toml" "$root/opt/pyproject.toml"

# LiteRT looks for ARM's processors in /sys, and crashes if it finds those of this machine there: so their number is passed.
mkdir -p "$root/sys/devices/system/cpu"
for list in possible present; do echo "0-$(($(nproc) - 1))" > "$root/sys/devices/system/cpu/$list"; done

# Some tests look at processes and terminals.
unmount() {
    for place in dev/pts proc; do
        if mountpoint -q "$root/$place"; then umount "$root/$place"; fi
    done
    rm -rf "$wheels"
}
trap unmount EXIT
mount -t proc proc "$root/proc"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
[ -c "$root/dev/ptmx" ] || ln -sf pts/ptmx "$root/dev/ptmx"
[ -c "$root/dev/full" ] || mknod -m 666 "$root/dev/full" c 1 7

# A Raspberry Pi 5's processor; cortex-a72 is a Pi 4's. As qemu 7.2's own `max`, int8 models give wrong results.
run() {
    chroot "$root" /usr/bin/env -i QEMU_CPU="${QEMU_CPU:-cortex-a76}" PATH=/usr/bin:/bin HOME=/root PYTHONPATH=/opt/quietframe LANG=C.UTF-8 "$@"
}
# Not by default: tests of how long something takes, which say nothing here; those of the models' quality and of whole
# commands, which take hours.
timed="--deselect tests/runtime/noise/test_estimate.py::test_large_frames_are_read_in_parts"
timed="$timed --deselect tests/runtime/noise/test_estimate.py::test_any_frame_reads_within_the_range"
timed="$timed --deselect tests/runtime/noise/test_estimate.py::test_it_takes_a_fraction_of_a_millisecond"
quick="tests/runtime/noise"
for name in assets card cpu engines errors image_formats images quality sinks sources tasks_classify tasks_denoise tasks_fit \
    zoo; do
    quick="$quick tests/runtime/test_$name.py"
done

run uname -m
run python3 -m quietframe models
[ $# -gt 0 ] || set -- $quick
run sh -c 'cd /opt && exec python3 -m pytest -q -p no:cacheprovider '"$timed"' "$@"' sh "$@"

# The same H.264 file, decoded (strength 0) and denoised here and there.
clip=$root/opt/clip.mp4
PYTHONPATH=$here/runtime python3 -m quietframe denoise "test:?size=320x240&frames=8" --strength 0 -o "$clip" --overwrite
for options in "-m camera-nano --strength 0" "-m camera-nano" "-m camera-small" "-m video-nano" "-m video-small"; do
    set -- $options --every-frame --format bgr -o -
    there=$(run python3 -m quietframe denoise /opt/clip.mp4 "$@" | sha256sum)
    ours=$(PYTHONPATH=$here/runtime python3 -m quietframe denoise "$clip" "$@" | sha256sum)
    [ "$there" = "$ours" ] && echo "$options: as on $(uname -m)" || echo "$options: differs from $(uname -m)"
done
