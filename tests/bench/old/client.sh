#!/bin/bash
# The old tool's end on a machine, re-created from a description of what it does, for the bench only: never protect a
# login with this. Run by pam_exec in the session phase. @URL@, @TOKEN@ and @NAME@ are filled in, as its owner once did.
if [ "$PAM_TYPE" = close_session ]; then exit 0; fi
url=@URL@ token=@TOKEN@ name=@NAME@

id=$(curl --silent --data "user=$PAM_USER&server=$name&remote=$PAM_RHOST&token=$token" "$url/request")
# bash counts the seconds itself here; a `date` in each turn would be one process more.
SECONDS=0
while ((SECONDS < 15)); do
  case $(curl --silent "$url/check/$id?token=$token") in
    approved) exit 0 ;;
    denied) exit 1 ;;
  esac
done
curl --silent --data "msg_id=$id&token=$token" "$url/timeout"
exit 1
