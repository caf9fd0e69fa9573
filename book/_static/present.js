// Slides: ?present at the end of a page's address shows its sections one screen at a time. What a screen cannot hold goes
// on the next; a figure has one of its own. Keys: arrows, n notes, s solution, c code, Escape back to the page.
if (new URLSearchParams(location.search).has("present")) {
  const make = (tag, name, parent, text = "") => {
    const node = window.shared.element(tag, { class: name }, text);
    parent?.append(node);
    return node;
  };
  const SOLUTION = /^(Solution|Answer)/;
  const title = (block) => block.querySelector(".admonition-title, summary")?.textContent.trim() ?? "";
  const started = Date.now();
  let deck, slides, notes, at = 0;

  const add = (heading) => {
    const slide = make("section", "slide", deck);
    if (heading) slide.append(heading.cloneNode(true));
    slide.body = make("div", "slide-body", slide);
    return slide;
  };
  const full = (slide) => slide.body.scrollHeight > slide.body.clientHeight + 1;
  const empty = (slide) => slide.body.clientHeight === 0 || ![...slide.body.children].some((e) => e.offsetHeight > 0);

  // What stands alone on a slide: figures, solutions, quizzes, and tables of results.
  const alone = (block) => block.matches(".solution, form.quiz") || block.querySelector("figure, .cell_output table") !== null;

  function lay(section) {
    const heading = section.querySelector(":scope > :is(h1, h2, h3, h4)");
    heading?.querySelector(".headerlink")?.remove();
    let slide = add(heading);
    for (const block of [...section.children]) {
      if (block === heading || block.matches("script, span:empty")) continue;
      if (block.matches("section")) {
        lay(block);
        continue;
      }
      if (block.matches(".lesson-notes")) {
        notes.append(block);
        continue;
      }
      if (SOLUTION.test(title(block))) {
        block.classList.add("solution");
        make("span", "solution-hint", block.querySelector(".admonition-title, summary"), " (press s)");
      }
      if (alone(block) && !empty(slide)) slide = add(heading);
      slide.body.append(block);
      if (full(slide) && slide.body.children.length > 1 && !empty(slide)) {
        const next = add(heading);
        next.body.append(block);
        if (empty(slide)) slide.remove();
        slide = next;
      }
      if (alone(block)) slide = add(heading);
    }
    if (empty(slide) && slide.body.children.length === 0 && slide !== deck.firstChild) slide.remove();
  }

  // Slides of nothing but folded code go to the one before; what is still too tall is drawn smaller.
  function tidy() {
    for (const slide of [...deck.querySelectorAll(".slide")]) {
      const before = slide.previousElementSibling;
      if (before && empty(slide)) {
        before.body.append(...slide.body.children);
        slide.remove();
      }
    }
    slides = [...deck.querySelectorAll(".slide")];
    slides.forEach(fit);
  }

  function fit(slide) {
    slide.body.style.zoom = 1;
    for (let zoom = 0.95; (full(slide) || slide.body.scrollWidth > slide.body.clientWidth + 1) && zoom > 0.3; zoom -= 0.05) {
      slide.body.style.zoom = zoom;
    }
  }

  function show(index) {
    at = Math.max(0, Math.min(slides.length - 1, index));
    slides.forEach((slide, i) => slide.classList.toggle("current", i === at));
    deck.querySelector(".place").textContent = `${at + 1} / ${slides.length}`;
    history.replaceState(null, "", `#${at + 1}`);
  }

  const toggle = (name) => {
    deck.classList.toggle(name);
    fit(slides[at]);
  };
  const KEYS = {
    ArrowRight: () => show(at + 1), ArrowLeft: () => show(at - 1), PageDown: () => show(at + 1), PageUp: () => show(at - 1),
    " ": () => show(at + 1), Home: () => show(0), End: () => show(slides.length - 1),
    n: () => (notes.hidden = !notes.hidden), s: () => toggle("solved"), c: () => toggle("with-code"),
    Escape: () => location.assign(location.pathname),
  };

  function bar() {
    const foot = make("div", "deck-bar", deck);
    for (const [text, key, label] of [["‹", "ArrowLeft", "previous slide"], ["›", "ArrowRight", "next slide"]]) {
      const button = make("button", "", foot, text);
      button.ariaLabel = label;
      button.addEventListener("click", KEYS[key]);
    }
    make("output", "place", foot).setAttribute("role", "status");
    make("span", "hint", foot, "n notes · s solution · c code · Esc page");
    const clock = make("time", "clock", foot);
    const tick = () => {
      const seconds = Math.floor((Date.now() - started) / 1000);
      clock.textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    };
    tick();
    setInterval(tick, 1000);
  }

  async function present() {
    await window.MathJax?.startup?.promise;
    const article = document.querySelector("article.bd-article");
    deck = make("div", "deck bd-article", document.body); // the styles of an article hold here, too
    notes = make("aside", "deck-notes");
    notes.hidden = true;
    document.documentElement.classList.add("presenting");
    for (const image of article.querySelectorAll("img")) image.loading = "eager";
    for (const section of [...article.querySelectorAll(":scope > section")]) lay(section);
    tidy();
    if (notes.children.length === 0) notes.textContent = "This edition has no notes.";
    notes.querySelectorAll(".toggle-hidden").forEach((e) => e.classList.remove("toggle-hidden"));
    deck.append(notes);
    bar();
    show(Number(location.hash.slice(1)) - 1 || 0);
    document.addEventListener("keydown", (event) => {
      if (event.target.matches("input, textarea, select") && event.key.startsWith("Arrow")) return;
      if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
      if (event.key === " " && event.target.matches("input, button, summary")) return;
      event.preventDefault();
      KEYS[event.key]();
    }, true);
    deck.dataset.ready = slides.length;
  }
  if (document.readyState === "complete") present();
  else addEventListener("load", present);
}
