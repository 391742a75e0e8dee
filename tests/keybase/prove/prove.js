// Uses keybase-bot as its README does, and compares what comes back. Arguments: user, paper key.
// It runs a service of its own from a copy of the program, and calls `chat api` once for each request.

const assert = require('assert')
const {execFile} = require('child_process')
const {promisify} = require('util')
const Bot = require('keybase-bot')

const channel = {name: 'acme', membersType: 'team', topicName: 'node'}

/** Orders the cloud; what it replies, as a text. */
async function double(...words) {
  const {stdout} = await promisify(execFile)('keybase', ['double', ...words.map(String)])
  return stdout.trim()
}

function equal(what, found, expected) {
  assert.deepStrictEqual(found, expected, what)
  console.log(`  ${what}: ${JSON.stringify(found)}`)
}

/** Messages as they are heard; `next` waits for one. */
class Heard {
  constructor() {
    this.messages = []
    this.waiting = []
  }
  push(message) {
    const waiting = this.waiting.shift()
    waiting ? waiting(message) : this.messages.push(message)
  }
  next() {
    return this.messages.length ? this.messages.shift() : new Promise(resolve => this.waiting.push(resolve))
  }
}

async function main(user, paperKey) {
  const bot = new Bot()
  await bot.init(user, paperKey)
  equal('whoami', bot.myInfo().username, user)
  equal('device', bot.myInfo().devicename, paperKey.split(' ').slice(0, 2).join(' '))

  const heard = new Heard()
  const fail = error => heard.push({error: String(error)})
  bot.chat.watchChannelForNewMessages(channel, message => heard.push(message), fail).catch(fail)
  await double('wait-listeners', 1)

  const sent = await bot.chat.send(channel, {body: 'first'})
  equal('send', sent.message, 'message sent')
  const conversations = await bot.chat.list()
  equal('list', conversations.map(found => found.channel.topicName).sort(), ['general', 'node', 'python'])

  const said = Number(await double('post', 'alice', 'acme#node', `hello @${user}`))
  let event = await heard.next()
  equal('event', [event.id, event.sender.username, event.content.text.body], [said, 'alice', `hello @${user}`])
  await double('react', 'alice', 'acme#node', sent.id, ':+1:')
  event = await heard.next()
  equal('reaction', [event.content.reaction.m, event.content.reaction.b], [sent.id, ':+1:'])
  const removed = Number(await double('react', 'bob', 'acme#node', sent.id, ':-1:'))
  await heard.next()
  await double('unreact', 'bob', 'acme#node', sent.id, ':-1:')
  event = await heard.next()
  equal('removal', event.content.delete.messageIDs, [removed])

  equal('react', (await bot.chat.react(channel, sent.id, ':eyes:')).message, 'message reacted to')
  const gone = await bot.chat.send(channel, {body: 'gone'})
  await bot.chat.delete(channel, gone.id)
  const {messages} = await bot.chat.read(channel, {peek: true})
  const first = messages.find(message => message.id === sent.id)
  equal('read', first.content.text.body, 'first')
  const standing = Object.values(first.reactions.reactions).flatMap(found => Object.keys(found.users))
  equal('reactions', standing.sort(), ['alice', user])
  equal('types', messages.map(message => message.content.type), ['delete', 'reaction', 'delete', 'reaction', 'text', 'text'])

  const team = await bot.team.listTeamMemberships({team: 'acme'})
  equal('owners', team.members.owners.map(member => [member.username, member.role]), [['alice', 4]])
  equal('no admins', team.members.admins, null)
  await assert.rejects(bot.chat.send({...channel, name: 'other'}, {body: 'x'}), {message: 'Team "other" does not exist'})
  await bot.deinit()
}

main(...process.argv.slice(2)).then(
  () => process.exit(0),
  error => {
    console.error('prove.js:', error)
    process.exit(1)
  },
)
