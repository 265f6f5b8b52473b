// Events from a response to fetch(), which unlike EventSource can POST and can be aborted.

/**
 * Yield the events of a response. It ends with the response, or throws what ended that.
 *
 * @param {Response} response
 * @returns {AsyncGenerator<{type: string, data: string | null, id: string}>} `data` is null where there was none: that
 *     is no event, but its id counts
 */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let id = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n"); // this server ends lines with LF alone
      rest = blocks.pop();
      for (const block of blocks) {
        const event = { type: "message", data: null, id };
        for (const line of block.split("\n")) {
          const [, field, text] = /^(\w*):? ?([^]*)$/.exec(line);
          if (field === "event") event.type = text;
          else if (field === "id") event.id = id = text;
          else if (field === "data") event.data = event.data === null ? text : `${event.data}\n${text}`;
        }
        yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // who stops reading lets the connection go
  }
}
