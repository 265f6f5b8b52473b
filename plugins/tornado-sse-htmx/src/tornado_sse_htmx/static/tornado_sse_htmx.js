/**
 * Has htmx 2 resume where it was.
 *
 * Its SSE extension leaves reconnecting to the browser's EventSource, which says what the last event was. But an
 * answer that is no stream, a proxy's 502 say while the server restarts, makes EventSource give up, and then the
 * extension opens the element's address anew, without a word of what it has had. From that moment the address says
 * it: the query parameter `last_event_id` is where tornado_sse looks if there is no `Last-Event-ID`.
 *
 * An ordinary script; load it after htmx, in any order with the extension. htmx 4 does without it.
 */
(() => {
  /** The last id of each EventSource. @type {WeakMap<EventSource, string>} */
  const ids = new WeakMap();

  // The detail is the MessageEvent itself. What no element listens for is not seen here, and comes again: to nobody.
  document.addEventListener("htmx:sseMessage", ({ detail }) => {
    if (detail.target instanceof EventSource && detail.lastEventId) ids.set(detail.target, detail.lastEventId);
  });

  document.addEventListener("htmx:sseError", ({ target, detail: { source } }) => {
    if (source?.readyState !== EventSource.CLOSED || !ids.has(source)) return;
    for (const name of ["sse-connect", "data-sse-connect"]) {
      if (!target.hasAttribute(name)) continue;
      const url = new URL(target.getAttribute(name), document.baseURI);
      url.searchParams.set("last_event_id", ids.get(source));
      target.setAttribute(name, url.href);
    }
  });
})();
