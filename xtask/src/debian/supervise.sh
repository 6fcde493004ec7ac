# Runs a command that makes something in a folder, for a process that may be gone before it ends.
#
# sh -c SUPERVISE sh FOLDER COMMAND..: standard input is a pipe that the caller holds open. When it ends, however the
# caller ended, the command is killed. After a success FOLDER/work goes; after anything else all of FOLDER does.
folder=$1
shift
# A key typed at the terminal ends the caller; we see that by the pipe.
trap '' HUP INT TERM
exec 3<&0
"$@" 3<&- </dev/null &
command=$!
# Nobody may read it any more when a shell would say "Killed", and that would end us.
exec >/dev/null 2>&1
{
    read -r _ <&3
    kill -KILL "$command"
} &
watch=$!
wait "$command"
code=$?
kill -KILL "$watch"
wait "$watch"
gone=$folder
[ "$code" = 0 ] && gone=$folder/work
# What was killed may take a moment to be gone, and write until then.
rm -rf --one-file-system "$gone" || { sleep 1; rm -rf --one-file-system "$gone"; }
exit "$code"
