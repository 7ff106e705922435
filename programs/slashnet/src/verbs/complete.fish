
# Names that the node knows.
complete -c slashnet -a '(slashnet complete -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
