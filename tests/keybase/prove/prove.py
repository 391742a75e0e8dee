"""Uses pykeybasebot as its README does, and compares what comes back. Arguments: home, user, paper key."""

import asyncio
import json
import subprocess
import sys


def without(function, parameter):
    """The same function, deaf to a parameter."""

    def call(*args, **kwargs):
        kwargs.pop(parameter, None)
        return function(*args, **kwargs)

    return call


# The library and its JSON reader are of Python 3.7's time. What Python took away since is given back; they stay as they are.
asyncio.create_subprocess_exec = without(asyncio.create_subprocess_exec, "loop")
asyncio.wait_for = without(asyncio.wait_for, "loop")
json.loads = without(json.loads, "encoding")

from pykeybasebot import Bot  # noqa: E402
from pykeybasebot.types import chat1  # noqa: E402

PATIENCE = 30
CHANNEL = chat1.ChatChannel(name="acme", topic_name="python", members_type="team")


def equal(what, found, expected):
    if found != expected:
        sys.exit(f"prove.py: {what}: {found!r}, not {expected!r}")
    print(f"  {what}: {found!r}")


async def double(*words):
    """Orders the cloud; what it replies, as a text."""
    run = await asyncio.to_thread(
        subprocess.run, ["keybase", "double", *map(str, words)], stdout=subprocess.PIPE, text=True, check=True
    )
    return run.stdout.strip()


async def main(home, user, key):
    events = asyncio.Queue()

    async def handler(_, event):
        await events.put(event)

    async def heard():
        return (await asyncio.wait_for(events.get(), PATIENCE)).msg

    bot = Bot(handler=handler, username=user, paperkey=key, keybase="keybase", home_path=home)
    listening = asyncio.create_task(bot.start({}))
    await double("wait-listeners", 1)
    equal("whoami", (await bot.submit("whoami --json"))["user"]["username"], user)

    sent = await bot.chat.send(CHANNEL, "first")
    equal("send", sent.message, "message sent")
    edited = await bot.chat.edit(CHANNEL, sent.message_id, "better")
    equal("edit", (edited.message, edited.message_id), ("message edited", sent.message_id + 1))
    equal("list", sorted(conv.channel.topic_name for conv in await bot.chat.list()), ["general", "node", "python"])

    said = int(await double("post", "alice", "acme#python", f"hello @{user}"))
    event = await heard()
    equal("event", (event.id, event.sender.username, event.content.text.body), (said, "alice", f"hello @{user}"))
    equal("mentioned", event.at_mention_usernames, [user])
    # This library cannot read a message that bears reactions, so it reads before there are any.
    read = await bot.chat.read(CHANNEL)
    equal("read", [message.content.type_name for message in read], ["text", "edit", "text"])
    equal("the edit shows", read[-1].content.text.body, "better")

    await double("react", "alice", "acme#python", sent.message_id, ":+1:")
    event = await heard()
    equal("reaction", (event.content.reaction.message_id, event.content.reaction.body), (sent.message_id, ":+1:"))
    removed = int(await double("react", "bob", "acme#python", sent.message_id, ":-1:"))
    await heard()
    await double("unreact", "bob", "acme#python", sent.message_id, ":-1:")
    equal("removal", (await heard()).content.delete.message_i_ds, [removed])
    reacted = await bot.chat.react(CHANNEL, sent.message_id, ":eyes:")
    equal("react", reacted.message, "message reacted to")

    try:
        await bot.chat.send(chat1.ChatChannel(name="other", members_type="team"), "x")
        sys.exit("prove.py: a team that does not exist took a message")
    except Exception as error:
        equal("error", error.args[0]["message"], 'Team "other" does not exist')
    listening.cancel()
    await bot.teardown()


asyncio.run(main(*sys.argv[1:]))
