// Who is here. The broker counts the connections of a room (`/api/channels`); names are what the pages tell each other over
// `here:<room>`, a channel without a log. So a count is certain, a name is a claim, and who is cut off falls silent.
const TELL = 10_000; // ms between signs of life
const SILENT = 25_000; // no sign for so long
const GONE = 150_000; // hidden tabs are woken once a minute only
const ANSWER_WITHIN = 400; // ms; spread, since everybody answers a newcomer

export class Presence {
  // `say(state)` tells the others; `changed()` shows.
  constructor(id, say, changed) {
    Object.assign(this, { id, say, changed, people: new Map() });
    setInterval(() => this.tick(), 5000);
  }

  enter() {
    this.people.clear();
    this.tell('hello');
    this.changed();
  }

  tell(state) {
    this.told = performance.now();
    this.say(state);
  }

  // True: somebody has come or gone.
  hear({ id, name, state }) {
    if (typeof id !== 'string' || typeof name !== 'string' || id === this.id) return false;
    const news = state === 'bye' || !this.people.has(id);
    if (state === 'bye') this.people.delete(id);
    else this.people.set(id, { name: name.slice(0, 40), seen: performance.now() });
    if (state === 'hello') setTimeout(() => this.tell('here'), Math.random() * ANSWER_WITHIN);
    this.changed();
    return news;
  }

  tick() {
    const now = performance.now();
    if (now - this.told > TELL - 500) this.tell('here');
    for (const [id, person] of this.people) if (now - person.seen > GONE) this.people.delete(id);
    this.changed();
  }

  // The others, by name: {name, silent}.
  list() {
    const now = performance.now();
    return [...this.people.values()]
      .map(({ name, seen }) => ({ name, silent: now - seen > SILENT }))
      .sort((a, b) => a.name.localeCompare(b.name));
  }
}
