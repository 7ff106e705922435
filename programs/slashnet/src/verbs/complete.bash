
# Names that the node knows; everything else is in the function above.
_slashnet_names() {
    local typed=${COMP_LINE:0:COMP_POINT}
    local word=${typed##*[[:space:]]} name IFS=$' \t\n'
    local -a before
    read -ra before <<< "${typed%"$word"}"
    mapfile -t COMPREPLY < <("${before[0]}" complete -- "${before[@]:1}" "$word" 2>/dev/null)
    if (( ${#COMPREPLY[@]} == 0 )); then
        _slashnet "$@"
        return
    fi
    # A ':' or '=' begins a new word for bash, which replaces only that.
    local cut=${word%"${COMP_WORDS[COMP_CWORD]}"}
    COMPREPLY=("${COMPREPLY[@]#"$cut"}")
    # What ends with a slash goes on.
    for name in "${COMPREPLY[@]}"; do
        [[ $name == */ ]] && compopt -o nospace 2>/dev/null
    done
    return 0
}

complete -F _slashnet_names -o nosort -o bashdefault -o default slashnet
