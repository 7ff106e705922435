
# Names that the node knows; everything else is in the functions above.
_slashnet_names() {
    local -a names
    names=("${(@f)$("${words[1]}" complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    names=("${(@)names:#}")
    if (( ${#names} )); then
        compadd -- "${(@)names:#*/}"
        compadd -S '' -- "${(@M)names:#*/}"
    else
        _slashnet "$@"
    fi
}

compdef _slashnet_names slashnet
