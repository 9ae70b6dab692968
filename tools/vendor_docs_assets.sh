#!/bin/sh
# Take what /docs and /redoc are made of from the npm registry, so that they render without any network.
# Run by hand to move to newer versions: tools/vendor_docs_assets.sh [SWAGGER_UI_VERSION [REDOC_VERSION]]
set -eu

swagger_ui="${1:-5.35.0}"
redoc="${2:-2.5.4}"
assets="$(cd "$(dirname "$0")/.." && pwd)/src/audio_text/api/assets"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"

unpack() {
    npm pack --silent "$1@$2" >/dev/null
    mkdir "$1"
    tar -xzf "$1-$2.tgz" -C "$1" --strip-components=1
}

unpack swagger-ui-dist "$swagger_ui"
unpack redoc "$redoc"
mkdir -p "$assets/LICENSES"

cp swagger-ui-dist/swagger-ui.css swagger-ui-dist/swagger-ui-bundle.js "$assets/"
# ReDoc shows its maker's logo from a CDN, or none when that fails; nothing here may ask another host.
sed "s|https://cdn.redoc.ly/redoc/logo-mini.svg|data:,|" redoc/bundles/redoc.standalone.js >"$assets/redoc.standalone.js"
# The maps are not shipped.
sed -i '/^\/[/*]# sourceMappingURL=/d' "$assets/swagger-ui.css" "$assets/swagger-ui-bundle.js" "$assets/redoc.standalone.js"

cp swagger-ui-dist/LICENSE "$assets/LICENSES/swagger-ui.LICENSE.txt"
cp swagger-ui-dist/NOTICE "$assets/LICENSES/swagger-ui.NOTICE.txt"
cp swagger-ui-dist/swagger-ui-bundle.js.LICENSE.txt "$assets/LICENSES/swagger-ui-bundle.js.LICENSE.txt"
cp redoc/LICENSE "$assets/LICENSES/redoc.LICENSE.txt"
cp redoc/bundles/redoc.standalone.js.LICENSE.txt "$assets/LICENSES/redoc.standalone.js.LICENSE.txt"
printf "swagger-ui-dist %s\nredoc %s, without the address of its maker's logo\n" "$swagger_ui" "$redoc" \
    >"$assets/LICENSES/VERSIONS.txt"
