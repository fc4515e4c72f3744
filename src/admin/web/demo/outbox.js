// One's own messages until they are stored: one at a time and in order, each until the broker has said what became of it.
//
//     ok       stored, at this position
//     retry    certainly not stored: again, later
//     unknown  may be stored: again with the same idempotency key, so that it cannot be stored twice
//     refused  not allowed: never again by itself
// No answer at all (a timeout, a connection that broke) is the same as unknown.
const DELAYS = [500, 1000, 2000, 4000, 8000]; // ms; then a person decides

export class Outbox {
  // `send(entry)` resolves to the broker's answer; `changed(entry)` shows its state.
  constructor(send, changed) {
    Object.assign(this, { send, changed, entries: [], online: false, working: false });
  }

  add(entry) {
    Object.assign(entry, { state: 'waiting', attempts: 0 });
    this.entries.push(entry);
    this.changed(entry);
    this.work();
  }

  // It has been seen in the channel.
  find(id) {
    return this.entries.find((entry) => entry.id === id);
  }

  remove(entry) {
    clearTimeout(entry.timer);
    this.entries = this.entries.filter((other) => other !== entry);
  }

  again(entry) {
    entry.attempts = 0;
    this.set(entry, 'waiting');
    this.work();
  }

  // While offline everything waits.
  setOnline(online) {
    this.online = online;
    for (const entry of this.entries) {
      clearTimeout(entry.timer);
      if (['sending', 'retry', 'unknown'].includes(entry.state)) this.set(entry, 'waiting');
    }
    this.work();
  }

  set(entry, state, detail = {}) {
    Object.assign(entry, { state, detail });
    this.changed(entry);
  }

  async work() {
    if (this.working) return;
    this.working = true;
    let entry;
    while (this.online && (entry = this.entries.find((e) => !['stored', 'refused', 'stuck'].includes(e.state))) && entry.state === 'waiting')
      await this.attempt(entry);
    this.working = false;
  }

  async attempt(entry) {
    this.set(entry, 'sending');
    let answer;
    try {
      answer = await this.send(entry);
    } catch (error) {
      answer = { ok: false, error: error.maybe ? 'unknown' : 'retry', message: error.message };
    }
    if (!this.entries.includes(entry)) return;
    if (answer?.ok) this.set(entry, 'stored', answer);
    else if (answer?.error === 'refused') this.set(entry, 'refused', answer);
    else if (this.online) this.later(entry, answer ?? { error: 'unknown', message: 'the answer says nothing' });
    else this.set(entry, 'waiting');
  }

  later(entry, answer) {
    const delay = DELAYS[entry.attempts++];
    if (delay === undefined) {
      this.set(entry, 'stuck', answer);
      return;
    }
    this.set(entry, answer.error, { ...answer, delay });
    entry.timer = setTimeout(() => {
      this.set(entry, 'waiting');
      this.work();
    }, delay);
  }
}
