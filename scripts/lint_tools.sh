# Sourced by scripts/lint and scripts/format: puts the pinned clang tools of scripts/deps.lock into
# a virtual environment of the user's cache, and sets $tools to its bin folder.
source scripts/deps.lock
cache=${XDG_CACHE_HOME:-$HOME/.cache}/px
tools=$cache/lint-$CLANG_FORMAT_VERSION-$CLANG_TIDY_VERSION/bin
if [ ! -e "$tools/.complete" ]; then
  mkdir -p "$cache"
  (
    flock 9
    [ ! -e "$tools/.complete" ] || exit 0
    printf 'lint: installing clang-format %s and clang-tidy %s\n' \
      "$CLANG_FORMAT_VERSION" "$CLANG_TIDY_VERSION"
    rm -rf "${tools%/bin}"
    python3 -m venv "${tools%/bin}"
    "$tools/pip" install --quiet --disable-pip-version-check \
      "clang-format==$CLANG_FORMAT_VERSION" "clang-tidy==$CLANG_TIDY_VERSION"
    touch "$tools/.complete"
  ) 9> "$cache/lint.lock"
fi

# Our C++ sources: committed, or new and not ignored. With arguments, those of them below the given paths.
cxx_sources() {
  git ls-files --cached --others --exclude-standard -- "$@" | grep -E '\.(h|cc)$' |
    while read -r file; do [ ! -f "$file" ] || printf '%s\n' "$file"; done
}
