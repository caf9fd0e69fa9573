// A class's guesses: files that predict.js saved are merged here, in the browser, and drawn prompt by prompt.
{
  const { FORMAT, MOST, save, mine } = window.guesses;
  const { element, drawn } = window.shared;
  const LARGEST = 2 ** 20; // bytes of a file
  const [WIDTH, ROW] = [420, 48];
  const form = document.getElementById("class-guesses");
  const place = document.getElementById("class-spread");
  const status = form.querySelector("output");
  const known = new Map(); // by browser and prompt: the last guess counts

  const write = (x) => Number(x.toPrecision(3)).toString().replace("-", "\u2212");
  const count = (n, what, more = "s") => `${n} ${what}${n === 1 ? "" : more}`;
  const text = (value) => typeof value === "string" && value.length > 0;

  function understood(content) {
    const { format, guesses } = JSON.parse(content);
    if (format !== FORMAT || !Array.isArray(guesses)) throw new Error("not a file of guesses");
    return guesses.map((guess) => {
      const { browser, id, title, prompt, choice, choices, number, words } = guess;
      const answered = text(choice) || Number.isFinite(number) || text(words);
      if (![browser, id, title, prompt].every(text) || !answered) throw new Error("a guess without its prompt, or an empty one");
      return {
        browser, id, title, prompt,
        ...(text(choice) && { choice, choices: Array.isArray(choices) ? choices.filter(text) : [choice] }),
        ...(Number.isFinite(number) && { number }),
        ...(text(words) && { words: words.slice(0, MOST) }),
      };
    });
  }

  async function add(chosen) {
    const refused = [];
    for (const file of chosen) {
      try {
        if (file.size > LARGEST) throw new Error("larger than a mebibyte");
        keep(understood(await file.text()));
      } catch (error) {
        refused.push(`${file.name} was left out: ${error instanceof SyntaxError ? "not JSON" : error.message}.`);
      }
    }
    draw(refused);
  }

  function keep(guesses) {
    guesses.forEach((guess) => known.set(`${guess.browser} ${guess.id}`, guess));
  }

  function draw(refused) {
    const all = [...known.values()];
    const groups = Map.groupBy(all, ({ id, prompt }) => `${id} ${prompt}`);
    place.replaceChildren(...[...groups.values()].map(spread));
    form.querySelector("[name=save]").disabled = all.length === 0;
    const browsers = new Set(all.map((guess) => guess.browser)).size;
    status.value = [`${count(all.length, "guess", "es")} on ${count(groups.size, "prompt")}, from ${count(browsers, "browser")}.`, ...refused].join(" ");
  }

  function spread(guesses) {
    const { title, prompt, id } = guesses[0];
    const section = element("section", { class: "spread" },
      element("h2", {}, `${title}, prompt ${id.split("-").pop()}`), element("p", {}, prompt));
    const numbers = guesses.map((guess) => guess.number).filter(Number.isFinite).sort((a, b) => a - b);
    const words = guesses.map((guess) => guess.words).filter(Boolean);
    if (guesses.some((guess) => guess.choice)) section.append(bars(guesses));
    if (numbers.length) section.append(dots(numbers));
    if (words.length) section.append(element("details", {}, element("summary", {}, `${words.length} in words`),
      element("ul", {}, ...words.map((word) => element("li", {}, word)))));
    return section;
  }

  function bars(guesses) {
    const choices = [...new Set(guesses.flatMap((guess) => guess.choices ?? []).concat(guesses.flatMap((guess) => guess.choice ?? [])))];
    const counts = choices.map((choice) => guesses.filter((guess) => guess.choice === choice).length);
    const most = Math.max(...counts);
    const shapes = choices.flatMap((choice, i) => {
      const length = ((WIDTH - 40) * counts[i]) / most;
      return [
        drawn("text", { y: i * ROW + 16 }, choice),
        drawn("rect", { y: i * ROW + 24, width: length, height: 14 }),
        drawn("text", { x: length + 8, y: i * ROW + 36 }, counts[i]),
      ];
    });
    return picture(ROW * choices.length, choices.map((choice, i) => `${choice} ${counts[i]}`).join(", "), shapes);
  }

  // Sorted numbers as dots over their axis, equal ones on top of each other; behind them the middle half, and the median.
  function dots(numbers) {
    const at = (share) => {
      const place = share * (numbers.length - 1);
      const low = numbers[Math.floor(place)];
      return low + (place % 1) * (numbers[Math.ceil(place)] - low);
    };
    const [first, quarter, median, third, last] = [0, 0.25, 0.5, 0.75, 1].map(at);
    const x = (value) => 20 + ((WIDTH - 40) * (last > first ? (value - first) / (last - first) : 0.5));
    const stacks = new Map();
    const points = numbers.map((value) => {
      const column = Math.round(x(value) / 10);
      stacks.set(column, (stacks.get(column) ?? 0) + 1);
      return [10 * column, stacks.get(column)];
    });
    const height = 12 * Math.max(...stacks.values()) + 8;
    const said = `${numbers.length} numbers from ${write(first)} to ${write(last)}, median ${write(median)}, middle half ${write(quarter)} to ${write(third)}`;
    const svg = picture(height + 24, said, [
      drawn("rect", { class: "half", x: x(quarter), y: 0, width: Math.max(2, x(third) - x(quarter)), height }),
      drawn("line", { x1: x(median), x2: x(median), y2: height }),
      ...points.map(([cx, level]) => drawn("circle", { cx, cy: height + 2 - 12 * level, r: 5 })),
      ...[[first, "start"], [last, "end"]].map(([value, anchor]) =>
        drawn("text", { x: x(value), y: height + 18, "text-anchor": last > first ? anchor : "middle" }, write(value))),
    ]);
    return element("figure", {}, svg, element("figcaption", {}, `${said}.`));
  }

  const picture = (height, label, shapes) => drawn("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": label }, ...shapes);

  form.addEventListener("submit", (event) => event.preventDefault());
  form.querySelector("[type=file]").addEventListener("change", (event) => add(event.target.files));
  form.querySelector("[name=mine]").addEventListener("click", () => {
    keep(mine());
    draw(mine().length ? [] : ["There are no guesses in this browser."]);
  });
  form.querySelector("[name=clear]").addEventListener("click", () => {
    known.clear();
    form.reset();
    draw([]);
  });
  form.querySelector("[name=save]").addEventListener("click", () => save([...known.values()], "class.json"));
  form.hidden = false;
}
