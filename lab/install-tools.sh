#!/usr/bin/env bash
# Installs the kernel tools that the lab and its tests call, or those named, where they are missing.
set -euo pipefail

declare -A package=(
    [nft]=nftables [iptables]=iptables [ipset]=ipset [conntrack]=conntrack [ip]=iproute2 [ss]=iproute2
)
missing=()
[ $# -gt 0 ] || set -- "${!package[@]}"
for command in "$@"; do
    PATH="$PATH:/usr/sbin:/sbin" command -v "$command" >/dev/null || missing+=("${package[$command]:-$command}")
done
[ ${#missing[@]} -gt 0 ] || exit 0
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)

if [ "$(id -u)" != 0 ]; then
    echo "Missing: ${missing[*]}. Install them, or run this as root (network namespaces need root too)." >&2
    exit 2
fi
if ! command -v apt-get >/dev/null; then
    echo "Missing: ${missing[*]}. There is no apt-get here: install what provides them." >&2
    exit 2
fi
echo "Installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
