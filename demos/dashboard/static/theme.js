// A script of its own and not a module, so that it runs before the first paint: a page that is remembered as
// dark must not flash in white. The policy allows no inline script.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("theme");
  } catch {
    // storage may be denied; then the page follows the system
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
