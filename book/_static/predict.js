// Predict, then reveal: a prompt "Change this and predict" that an "Answer" follows becomes a form. The answer opens once
// a guess is locked. Guesses stay in this browser, without names or times; they can be saved as a file, which
// book/class_guesses.md reads. A task list in a prompt gives its choices; without one, a guess is words, a number, or both.
{
  const { element } = window.shared;
  const FORMAT = "guesses-1";
  const MOST = 500; // characters of a guess

  // All that is kept: guesses by prompt, and a random number that stands for this browser in them, so that no file counts
  // twice and no two files as one. Where a browser keeps nothing, it lasts as long as the page.
  let kept = { browser: crypto.getRandomValues(new Uint32Array(2)).join("-"), guesses: {} };
  try {
    kept = JSON.parse(localStorage.getItem(`${FORMAT}-kept`)) ?? kept;
  } catch { /* as it is */ }

  function put(id, guess) {
    kept.guesses[id] = guess; // JSON leaves out what is not defined
    try {
      localStorage.setItem(`${FORMAT}-kept`, JSON.stringify(kept));
    } catch { /* in this page alone */ }
  }

  const mine = () => Object.values(kept.guesses).filter(Boolean);

  function save(guesses, name) {
    const text = JSON.stringify({ format: FORMAT, guesses }, null, 1);
    const link = element("a", { href: URL.createObjectURL(new Blob([text], { type: "application/json" })), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  // A guess in words, such as: It falls · 3.5 · because of the floor
  const said = ({ choice, number, words }) => [choice, number?.toString().replace("-", "\u2212"), words].filter(Boolean).join(" \u00b7 ");

  const titled = (node, text) => node?.matches?.(".admonition") && node.querySelector(".admonition-title").textContent.trim() === text;

  class Prompt {
    constructor(prompt, answer, index) {
      const page = location.pathname.split("/").pop().replace(/\.html$/, "");
      Object.assign(this, { prompt, answer, id: `${page}-${index + 1}` });
      this.list = prompt.querySelector("ul.contains-task-list");
      this.choices = [...(this.list?.children ?? [])].map((item) => item.textContent.trim());
      const words = prompt.cloneNode(true);
      words.querySelectorAll(".admonition-title, .contains-task-list, .highlight").forEach((part) => part.remove());
      words.querySelectorAll(".math").forEach((part) => part.replaceWith("\u2026")); // before and after it is typeset
      this.text = words.textContent.replace(/\s+/g, " ").trim();
      this.title = document.querySelector("h1")?.firstChild.textContent.trim() ?? page;
      this.form = element("form", { class: "guess", "aria-label": `Your guess, prompt ${index + 1}`, autocomplete: "off" });
      this.status = element("p", { class: "status", role: "status" });
      this.list?.classList.add("as-form");
      prompt.append(this.form, this.status);
      this.form.addEventListener("submit", (event) => {
        event.preventDefault();
        this.lock();
      });
      const known = kept.guesses[this.id];
      this.guess = known?.prompt === this.text ? known : null;
      this.draw();
    }

    draw() {
      this.form.replaceChildren(...(this.guess ? this.locked() : this.open()));
      this.answer.classList.toggle("unguessed", !this.guess);
      this.answer.querySelector(".guessed")?.remove();
      if (!this.guess) return;
      this.answer.querySelector(".admonition-title").after(element("p", { class: "guessed" }, "You guessed: ", element("q", {}, said(this.guess))));
    }

    open() {
      const fields = [];
      if (this.choices.length) {
        fields.push(element("fieldset", {}, element("legend", {}, "Your guess"), ...this.choices.map((choice) =>
          element("label", {}, element("input", { type: "radio", name: this.id, value: choice }), ` ${choice}`))));
      }
      const words = this.choices.length ? "Why (if you like)" : "Your guess, in words";
      fields.push(element("label", { class: "words" }, words, element("textarea", { rows: 2, maxlength: MOST })));
      fields.push(element("label", { class: "number" }, "A number (if it is one)", element("input", { type: "text", inputmode: "decimal" })));
      return [...fields, element("button", {}, "Lock it and see the answer")];
    }

    locked() {
      const again = element("button", { type: "button" }, "Guess again");
      const keep = element("button", { type: "button" }, "Save all my guesses");
      again.addEventListener("click", () => this.forget());
      keep.addEventListener("click", () => save(mine(), "guesses.json"));
      return [element("p", {}, "Locked: ", element("q", {}, said(this.guess))), again, keep];
    }

    lock() {
      const choice = this.form.querySelector(":checked")?.value;
      const words = this.form.querySelector("textarea").value.trim().slice(0, MOST);
      const typed = this.form.querySelector(".number input").value.trim();
      const number = Number(typed.replace("\u2212", "-"));
      if (typed && !Number.isFinite(number)) return this.ask(".number input", `${typed} is not a number; one is 3.5.`);
      if (this.choices.length && !choice) return this.ask("input", "Choose one first.");
      if (!choice && !words && !typed) return this.ask("textarea", "Guess first, in words or as a number.");
      this.guess = { browser: kept.browser, id: this.id, title: this.title, prompt: this.text };
      if (this.choices.length) Object.assign(this.guess, { choice, choices: this.choices });
      if (typed) this.guess.number = number;
      if (words) this.guess.words = words;
      put(this.id, this.guess);
      this.draw();
      this.answer.querySelector(".toggle-button[aria-expanded=false]")?.click();
      this.status.textContent = "Your guess is locked. The answer is open below.";
      this.form.querySelector("button").focus();
      return undefined;
    }

    ask(selector, message) {
      this.status.textContent = message;
      this.form.querySelector(selector).focus();
    }

    forget() {
      this.guess = null;
      put(this.id);
      this.draw();
      this.status.textContent = "Your guess is forgotten, and the answer is closed.";
      this.form.querySelector("input, textarea").focus();
    }
  }

  window.guesses = { FORMAT, MOST, save, mine };
  [...document.querySelectorAll(".admonition")]
    .filter((node) => titled(node, "Change this and predict") && titled(node.nextElementSibling, "Answer"))
    .forEach((node, index) => new Prompt(node, node.nextElementSibling, index));
}
