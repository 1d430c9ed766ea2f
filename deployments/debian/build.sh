#!/bin/sh
# Build confhaul_VERSION_ARCH.deb into the directory OUT: deployments/debian/build.sh OUT [VERSION]. The same commit and Go give
# the same bytes. It needs go, git and dpkg-deb.
set -eu
out=$(realpath "$1")
cd "$(dirname "$0")/../.."
version=${2:-$(git describe --tags --always --dirty)}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH CGO_ENABLED=0

case $version in
v[0-9]*) deb=$(echo "${version#v}" | tr - +) ;; # a dash would begin Debian's own revision
*) deb=0.0.0+$(echo "$version" | tr - +) ;;     # no release yet
esac
arch=$(go env GOARCH)
case $arch in arm) arch=armhf ;; 386) arch=i386 ;; esac
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

put() { # MODE FROM TO
  install -D -m "$1" "$2" "$root/$3"
}
mkdir -p "$root/usr/bin"
chmod 755 "$root"
go build -trimpath -buildvcs=false -ldflags "-s -w -X github.com/confhaul/confhaul/pkg/telemetry.release=$version" \
  -o "$root/usr/bin/confhaul" ./cmd/confhaul
for unit in deployments/systemd/*.service; do put 644 "$unit" "usr/lib/systemd/system/${unit##*/}"; done
put 644 deployments/systemd/confhaul.sysusers usr/lib/sysusers.d/confhaul.conf
put 644 deployments/systemd/confhaul.tmpfiles usr/lib/tmpfiles.d/confhaul.conf
put 644 deployments/systemd/secrets.conf usr/share/doc/confhaul/examples/secrets.conf
for dir in confhaul-.service.d confhaul-worker@.service.d; do
  put 644 "deployments/systemd/$dir/access.conf" "usr/share/doc/confhaul/examples/$dir/access.conf"
done
put 644 deployments/confhaul.yaml etc/confhaul/confhaul.yaml
put 644 deployments/debian/copyright usr/share/doc/confhaul/copyright
put 644 CHANGELOG.md usr/share/doc/confhaul/changelog
gzip -9n "$root/usr/share/doc/confhaul/changelog"
if [ "$(go env GOARCH)" = "$(go env GOHOSTARCH)" ]; then
  program=$root/usr/bin/confhaul
else
  program="env GOARCH= go run ./cmd/confhaul"
fi
complete() { # SHELL TO
  $program completion "$1" >"$root/completion"
  put 644 "$root/completion" "$2"
  rm "$root/completion"
}
complete bash usr/share/bash-completion/completions/confhaul
complete zsh usr/share/zsh/vendor-completions/_confhaul
complete fish usr/share/fish/vendor_completions.d/confhaul.fish

for script in postinst prerm postrm; do put 755 "deployments/debian/$script" "DEBIAN/$script"; done
echo /etc/confhaul/confhaul.yaml >"$root/DEBIAN/conffiles"
size=$(find "$root" -path "$root/DEBIAN" -prune -o -type f -printf '%k\n' | awk '{n += $1} END {print n}')
sed -e "s/@VERSION@/$deb/" -e "s/@ARCH@/$arch/" -e "s/@SIZE@/$size/" deployments/debian/control >"$root/DEBIAN/control"
(cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\n' | LC_ALL=C sort | xargs md5sum >DEBIAN/md5sums)
find "$root" -type d -exec chmod 755 {} +
find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
mkdir -p "$out"
dpkg-deb --root-owner-group -Zzstd --build "$root" "$out/confhaul_${deb}_$arch.deb"
