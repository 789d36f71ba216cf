# shellcheck shell=bash
# The demo of ops/quickstart, which sources this file: the main job on real input, measured.
#
# A real tree and one large file are copied into the primary's mount. At the mirror everything is
# compared by checksum, first while the syncer works, then with the origin moved away and the
# mirror's cache cold, so that every byte comes from the mirror's own bucket.

demo_files=${TARN_DEMO_FILES:-6000} # regular files of the tree, at least
demo_mib=${TARN_DEMO_MIB:-1024}     # of the large file

demo() {
    is_running mount-primary && is_running mount-mirror && is_running syncer ||
        die "not everything is up; run ops/quickstart up first"
    local begun=$EPOCHREALTIME top=$dir/primary/mnt/demo there=$dir/mirror/mnt/demo
    demo_rows=()
    demo_failed=0

    prepare_input
    say "copying into the primary's mount"
    rm -rf "$top"
    mkdir "$top"
    timed copy_tree "$top"
    row "tree copied" "$tree_count files, $(megabytes "$tree_bytes")" "$took"
    timed cp "$dir/source/model.safetensors" "$top/"
    row "large file copied" "$(megabytes "$model_bytes")" "$took"

    timed wait_for 120 "the last file at the mirror" appears "$top" "$there" ||
        die "the mirror does not follow"
    row "mirror caught up after the copy" "all names seen" "$took"
    row "replication, commit to visible" "median of 20" "$(median_lag "$top" "$there")"

    say "comparing at the mirror"
    compare "at the mirror" "$there"

    timed wait_for 600 "the syncer" is_synced || demo_failed=1
    row "syncer finished after that" "no slice left" "$took"
    local at_origin at_local
    at_origin=$(count_objects origin)
    at_local=$(count_objects local)
    row "objects at the origin" "$at_origin" ""
    row "objects at the mirror" "$at_local" ""
    [ "$at_origin" = "$at_local" ] || demo_failed=1

    say "moving the origin away; the mirror's cache is cold"
    without_origin "$there"
    row "everything together" "" "$(since "$begun")"
    print_table
    [ "$demo_failed" = 0 ] || die "a comparison failed"
}

# ---------------------------------------------------------------------------- input

prepare_input() {
    local list=$dir/source/tree.list sums=$dir/source/tree.sums
    mkdir -p "$dir/source"
    if [ ! -e "$sums" ]; then
        say "choosing a real tree: /usr/include and /usr/share"
        # A reader that has enough closes the pipe; that is no failure.
        (cd / && find usr/include usr/share -type f -print 2>/dev/null || true) |
            head -n "$demo_files" >"$list" || true
        [ "$(wc -l <"$list")" -ge 5000 ] || die "fewer than 5000 files in /usr/include and /usr/share"
        (cd / && tr '\n' '\0' <"$list" | xargs -0 sha256sum) >"$sums"
    fi
    tree_count=$(wc -l <"$list")
    tree_bytes=$(cd / && tr '\n' '\0' <"$list" | du -cb --files0-from=- | tail -n 1 | cut -f 1)
    if [ ! -e "$dir/source/model.sums" ]; then
        say "generating $demo_mib MiB in safetensors layout"
        "$here/ops/make-safetensors" "$dir/source/model.safetensors" "$demo_mib"
        (cd "$dir/source" && sha256sum model.safetensors) >"$dir/source/model.sums"
    fi
    model_bytes=$(stat -c %s "$dir/source/model.safetensors")
}

copy_tree() { tar -C / -cf - -T "$dir/source/tree.list" | tar -C "$1" -xf -; }

# ---------------------------------------------------------------------------- measuring

# timed COMMAND...: its exit code; the seconds it took go to $took.
timed() {
    local start=$EPOCHREALTIME code=0
    "$@" || code=$?
    took=$(since "$start")
    return "$code"
}

since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.2f s", b - a }'; }
megabytes() { awk -v n="$1" 'BEGIN { printf "%.1f MiB", n / 1048576 }'; }

# appears HERE THERE: a name made after everything else is seen, so everything else is.
appears() {
    [ -e "$1/.last" ] || : >"$1/.last"
    [ -e "$2/.last" ]
}

# The lag that a user sees: from the return of a create at the primary to the name at the mirror.
median_lag() {
    local i begun mark
    for ((i = 0; i < 20; i++)); do
        mark=.mark-$EPOCHREALTIME
        : >"$1/$mark"
        begun=$EPOCHREALTIME
        until [ -e "$2/$mark" ]; do :; done
        awk -v a="$begun" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f ms\n", (b - a) * 1000 }'
    done | sort -n | sed -n 10p
    rm -f "$1"/.mark-*
}

is_synced() {
    [ "$(sql mirror "SELECT count(*) FROM tarn.slice_state")" = 0 ] &&
        [ "$(count_objects origin)" = "$(count_objects local)" ]
}

# Block objects only: not the identity, not what is half written.
count_objects() {
    find "$dir/$1/$volume/chunks" -type f -regextype posix-extended \
        -regex '.*/[0-9]+_[0-9]+_[0-9]+' 2>/dev/null | wc -l
}

# ---------------------------------------------------------------------------- comparing

# compare WHERE DIRECTORY: both inputs against their checksums.
compare() {
    local what result
    for what in tree model; do
        if timed check_sums "$what" "$2"; then
            result=equal
        else
            result=DIFFERENT
            demo_failed=1
        fi
        row "$what, checksums $1" "$result" "$took"
    done
}

check_sums() {
    (cd "$2" && sha256sum --check --quiet --strict "$dir/source/$1.sums") \
        >"$dir/log/compare.log" 2>&1 || { head -n 5 "$dir/log/compare.log" >&2; return 1; }
}

without_origin() {
    unmount_site mirror
    mv "$dir/origin" "$dir/origin.away"
    rm -rf "$dir/mirror/cache"
    mount_site mirror "$dir/mirror/cache" --read-only
    compare "without the origin" "$1"
    mv "$dir/origin.away" "$dir/origin"
}

# ---------------------------------------------------------------------------- the table

row() { demo_rows+=("$1|$2|$3"); }

print_table() {
    local line what value time
    printf '\n%-36s %-28s %12s\n' what result time
    printf '%.0s-' {1..78}
    echo
    for line in "${demo_rows[@]}"; do
        IFS='|' read -r what value time <<<"$line"
        printf '%-36s %-28s %12s\n' "$what" "$value" "$time"
    done
}
