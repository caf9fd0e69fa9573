// Cards: what a linked term, equation or claim says, and what a symbol means, under the pointer or at the focus. Escape
// closes one, and the pointer may go to it. What they say is in cards-said.js; where a page first has a symbol, it can be
// focused.
{
  const card = Object.assign(document.createElement("div"), { id: "card", hidden: true });
  card.setAttribute("role", "tooltip");
  let at = null;
  let leaving = 0;

  function show(anchor, said) {
    clearTimeout(leaving);
    if (at === anchor) return;
    hide();
    at = anchor;
    anchor.setAttribute("aria-describedby", "card");
    card.innerHTML = said;
    card.hidden = false;
    window.MathJax?.typesetPromise?.([card]).then(() => place(anchor));
    place(anchor);
  }

  function place(anchor) {
    const [box, own] = [anchor, card].map((each) => each.getBoundingClientRect());
    const left = Math.min(box.left, document.documentElement.clientWidth - own.width - 8);
    const above = box.bottom + own.height + 8 > innerHeight && box.top > own.height + 8;
    card.style.left = `${Math.max(8, left) + scrollX}px`;
    card.style.top = `${(above ? box.top - own.height - 4 : box.bottom + 4) + scrollY}px`;
  }

  function hide() {
    at?.removeAttribute("aria-describedby");
    card.hidden = true;
    at = null;
  }

  const leave = () => { leaving = setTimeout(hide, 150); };

  function offer(anchor, said) {
    ["pointerenter", "focus"].forEach((event) => anchor.addEventListener(event, () => show(anchor, said)));
    ["pointerleave", "blur"].forEach((event) => anchor.addEventListener(event, leave));
  }

  document.body.append(card);
  card.addEventListener("pointerenter", () => clearTimeout(leaving));
  card.addEventListener("pointerleave", leave);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  const known = (key) => Object.hasOwn(window.cards ?? {}, key);
  const links = [...document.querySelectorAll("main a[href*='#']:not(.headerlink, .permalink)")];
  links.filter((link) => known(link.hash.slice(1))).forEach((link) => offer(link, window.cards[link.hash.slice(1)]));
  const seen = new Set();
  document.querySelectorAll("main p .math, main li .math").forEach((formula) => {
    const text = formula.textContent;
    if (!known(text) || seen.has(text) || formula.closest("a, form, .admonition, details")) return;
    seen.add(text);
    formula.tabIndex = 0;
    formula.classList.add("symbol");
    offer(formula, window.cards[text]);
  });
}
