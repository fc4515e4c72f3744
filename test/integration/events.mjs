// Server-sent events as they come (https://html.spec.whatwg.org/multipage/server-sent-events.html): text in pieces of any size in, whole events out.
export class EventReader {
  rest = '';

  // The events that are whole now, as { id, event, data }, those fields that they have. Comments are none.
  push(text) {
    const blocks = (this.rest + text).split('\n\n');
    this.rest = blocks.pop(); // not whole yet
    return blocks.map(fieldsOf).filter((fields) => Object.keys(fields).length > 0);
  }
}

function fieldsOf(block) {
  const fields = {};
  for (const line of block.split('\n')) {
    const [, field, value] = /^([a-z]+): ?(.*)$/s.exec(line) ?? [];
    if (field) fields[field] = value;
  }
  return fields;
}
