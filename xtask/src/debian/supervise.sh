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
{
    read -r _ <&3
    kill -KILL "$command"
} >/dev/null 2>&1 &
watch=$!
wait "$command"
code=$?
kill -KILL "$watch" 2>/dev/null
wait "$watch" 2>/dev/null
gone=$folder
[ "$code" = 0 ] && gone=$folder/work
# What was killed may take a moment to be gone, and write until then.
rm -rf --one-file-system "$gone" 2>/dev/null || { sleep 1; rm -rf --one-file-system "$gone"; }
exit "$code"
