// Two latents to be moved by hand, on the page that lib/study/explorer.py makes: handles on a map of the measure, the
// straight line and the shortest path between them, their lengths, and the images along both.
//
// Pages can be driven by window.latentExplorer: set(0 or 1, [x, y]) moves a handle, choose("euclidean", "mean" or
// "expected") a metric, settle() ends the search for the shortest path at once, and read() returns all numbers.
{
  const { LatentDecoder, unpack, straight, coefficients, Path, Grid } = window.latents;
  const METRICS = { euclidean: "Euclidean", mean: "of the mean", expected: "expected" };
  const SIDE = 40; // nodes of the grid along either side
  const EVERY = 4; // samples from one image of a strip to the next
  const STEP = 0.1; // latent units of a key
  const FRAME = 12; // milliseconds of computing at a time
  const WIDTH = 400; // of the map, in its own units

  const { drawn, number, paint } = window.shared;
  const draw = (parent, ...what) => parent.appendChild(drawn(...what));
  const place = (x) => x.toFixed(2).replace("-", "\u2212");

  const SKELETON = `
    <fieldset class="metrics"><legend>Metric</legend>${Object.entries(METRICS).map(([key, name]) =>
      `<label><input type="radio" name="latent-metric" value="${key}"${key === "expected" ? " checked" : ""}> ${name}</label>`).join("")}
    </fieldset>
    <div class="map"><canvas class="measure" aria-hidden="true"></canvas><svg role="group" aria-label="Map of two latents"></svg></div>
    <div class="strips"><p class="shortest"><span>shortest path</span><canvas role="img"></canvas></p><p class="straight"><span>straight line</span><canvas role="img"></canvas></p></div>
    <p class="said" role="status"></p>
    <div class="numbers"></div>`;

  class Explorer {
    constructor(root) {
      this.data = JSON.parse(root.querySelector("script").textContent);
      this.decoder = new LatentDecoder(this.data);
      this.grid = new Grid(this.decoder, this.data.extent, SIDE);
      this.maps = Object.fromEntries(Object.entries(this.data.maps).map(([name, packed]) => [name, unpack(packed)]));
      this.root = root;
      this.metric = "expected";
      this.ends = this.data.start.map((z) => [...z]);
      root.innerHTML = SKELETON;
      root.classList.add("live");
      this.find = (selector) => root.querySelector(selector);
      this.drawMap();
      root.addEventListener("change", (event) => this.choose(event.target.value));
      this.moved();
    }

    // The map ----------------------------------------------------------------------------------------------------
    get height() {
      const [left, right, bottom, top] = this.data.extent;
      return (WIDTH * (top - bottom)) / (right - left);
    }

    toMap([x, y]) {
      const [left, right, bottom, top] = this.data.extent;
      return [(WIDTH * (x - left)) / (right - left), (this.height * (top - y)) / (top - bottom)];
    }

    drawMap() {
      const svg = this.find("svg");
      svg.setAttribute("viewBox", `0 0 ${WIDTH} ${this.height}`);
      const { codes } = this.data;
      for (let i = 0; i < codes.length; i += 2) {
        const [cx, cy] = this.toMap([codes[i], codes[i + 1]]);
        draw(svg, "circle", { cx, cy, r: 1.6, class: "code" });
      }
      const inside = draw(svg, "svg", { width: WIDTH, height: this.height, "aria-hidden": true }); // a path may leave the map
      this.curves = Object.fromEntries(["straight", "shortest"].map((name) =>
        [name, { line: draw(inside, "polyline", { class: name }), dots: draw(inside, "path", { class: `${name} dots` }) }]));
      draw(svg, "text", { x: WIDTH / 2, y: this.height - 6, class: "axis" }, "first latent →");
      draw(svg, "text", { x: -this.height / 2, y: 14, class: "axis", transform: "rotate(-90)" }, "second latent →");
      this.handles = ["A", "B"].map((name, index) => this.handle(svg, name, index));
      this.shade();
    }

    handle(svg, name, index) {
      const [left, right] = this.data.extent;
      const group = draw(svg, "g", {
        class: "handle", tabindex: 0, role: "slider", "aria-label": `Handle ${name}`, "aria-roledescription": "two-dimensional slider",
        "aria-valuemin": left.toFixed(2), "aria-valuemax": right.toFixed(2),
      });
      draw(group, "circle", { r: 22, class: "reach" });
      draw(group, "circle", { r: 11, class: "knob" });
      draw(group, "text", { dy: "0.35em" }, name);
      group.addEventListener("keydown", (event) => this.pressed(event, index));
      group.addEventListener("pointerdown", (event) => {
        group.setPointerCapture(event.pointerId);
        group.focus({ preventScroll: true });
        event.preventDefault();
      });
      group.addEventListener("pointermove", (event) => {
        if (group.hasPointerCapture(event.pointerId)) this.set(index, this.toLatents(event));
      });
      return group;
    }

    toLatents(event) {
      const [left, right, bottom, top] = this.data.extent;
      const box = this.find("svg").getBoundingClientRect();
      const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
      return [left + x * (right - left), top - y * (top - bottom)];
    }

    pressed(event, index) {
      const [x, y] = this.ends[index];
      const far = event.shiftKey ? 5 * STEP : STEP;
      const to = {
        ArrowLeft: [x - far, y], ArrowRight: [x + far, y], ArrowUp: [x, y + far], ArrowDown: [x, y - far], Home: this.data.start[index],
      }[event.key];
      if (!to) return;
      event.preventDefault();
      this.set(index, to);
    }

    // The measure by the chosen metric: the darker, the larger.
    shade() {
      const { side } = this.data;
      const canvas = this.find(".measure");
      const values = this.maps[this.metric] ?? new Float32Array(side * side);
      const low = values.reduce((a, b) => Math.min(a, b));
      const range = values.reduce((a, b) => Math.max(a, b)) - low || 1;
      const upwards = (i) => (side - 1 - Math.floor(i / side)) * side + (i % side);
      Object.assign(canvas, { width: side, height: side });
      paint(canvas, [1, side, side], values.map((_, i) => 255 - (170 * (values[upwards(i)] - low)) / range));
    }

    // What is asked for ------------------------------------------------------------------------------------------
    set(index, [x, y]) {
      const [left, right, bottom, top] = this.data.extent;
      this.ends[index] = [Math.min(right, Math.max(left, x)), Math.min(top, Math.max(bottom, y))];
      this.moved();
    }

    choose(metric) {
      if (!(metric in METRICS)) throw new Error(`unknown metric ${metric}; known: ${Object.keys(METRICS)}`);
      this.metric = metric;
      this.find(`[value=${metric}]`).checked = true;
      this.path = null;
      this.shade();
      this.moved();
    }

    moved() {
      this.searching = this.search(this.path?.c);
      this.root.setAttribute("aria-busy", "true");
      this.frame ??= requestAnimationFrame(() => this.work());
    }

    // A path from each start; the shortest stays. The first start is the last path, so that a hand can be followed.
    *search(last) {
      this.path = new Path(this.decoder, this.metric, this.ends, last);
      yield;
      const zero = () => undefined;
      const way = () => coefficients(this.ends, this.grid.way(this.metric, this.ends));
      yield* this.relax(this.path);
      if (this.metric === "euclidean") return;
      while (!this.grid.grow()) yield;
      for (const start of last ? [zero, way] : [way]) yield* this.relax(new Path(this.decoder, this.metric, this.ends, start()));
    }

    *relax(path) {
      while (!path.converged) {
        path.step();
        if (path.energy < this.path.energy) this.path = path;
        yield;
      }
    }

    // As much of the search as fits into a frame; all of it where motion is not wanted.
    work() {
      this.frame = null;
      const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
      const until = performance.now() + (still ? Infinity : FRAME);
      let done = false;
      do done = this.searching.next().done; while (!done && performance.now() < until);
      this.show();
      if (done) this.settled();
      else this.frame = requestAnimationFrame(() => this.work());
    }

    settle() {
      while (!this.searching.next().done);
      this.show();
      this.settled();
    }

    // What is seen -----------------------------------------------------------------------------------------------
    get ways() {
      return { straight: straight(this.ends), shortest: this.path.curve };
    }

    read() {
      return {
        metric: this.metric,
        handles: this.ends,
        measure: this.ends.map((z) => this.decoder.measure(this.metric, z)),
        lengths: Object.fromEntries(Object.entries(this.ways).map(([name, curve]) => [name, this.decoder.lengths(curve)])),
        path: this.path.curve,
      };
    }

    show() {
      Object.entries(this.ways).forEach(([name, curve]) => {
        const points = curve.map((z) => this.toMap(z).map((x) => x.toFixed(1)));
        const images = curve.filter((_, k) => k % EVERY === 0);
        this.curves[name].line.setAttribute("points", points.join(" "));
        this.curves[name].dots.setAttribute("d", points.filter((_, k) => k % EVERY === 0).map((p) => `M${p}h0`).join(""));
        this.strip(this.find(`.strips .${name} canvas`), images, name === "straight" ? "straight line" : "shortest path");
      });
      this.handles.forEach((handle, i) => handle.setAttribute("transform", `translate(${this.toMap(this.ends[i])})`));
      this.write(this.read());
    }

    // Tables; HTML closes a cell where the next begins.
    write({ lengths: { straight: line, shortest: path }, measure }) {
      const cells = (start, value) => Object.keys(METRICS).map((key) =>
        `<${start} class="${key === this.metric ? "chosen" : ""}">${value(key)}`).join("");
      const row = (name, words, value) =>
        `<tr data-row="${name}"><th scope="row">${words}${cells("td", (key) => number(value(key)))}</tr>`;
      const handles = this.ends.map((z, i) => ({ name: "AB"[i], z: z.map(place), measure: number(measure[i]) }));
      this.find(".numbers").innerHTML = `
        <table class="lengths"><caption>Lengths by each metric</caption>
          <thead><tr><td>${cells('th scope="col"', (key) => METRICS[key].replace("of the ", ""))}</tr></thead>
          <tbody>${row("straight", "straight line", (key) => line[key])}${row("shortest", "shortest path", (key) => path[key])}
            ${row("ratio", "path / line", (key) => path[key] / line[key] || 1)}</tbody></table>
        <table class="handles"><caption>Under the handles</caption>
          <thead><tr><td><th scope="col">latents<th scope="col">√det <i>M</i></tr></thead>
          <tbody>${handles.map((at) => `<tr><th scope="row">${at.name}<td>${at.z.join(", ")}<td>${at.measure}</tr>`).join("")}</tbody></table>
        <p class="hint">Drag A and B. Or focus one and press arrow keys (with Shift: five times as far; Home: back). A path may leave the map.</p>`;
      handles.forEach((at, i) => {
        this.handles[i].setAttribute("aria-valuenow", this.ends[i][0].toFixed(2));
        this.handles[i].setAttribute("aria-valuetext",
          `first latent ${at.z[0]}, second latent ${at.z[1]}, square root of det M ${at.measure}`);
      });
    }

    strip(canvas, images, name) {
      const [, height, width] = this.data.shape;
      Object.assign(canvas, { width: images.length * width, height });
      canvas.setAttribute("aria-label", `${images.length} images along the ${name}, from A to B`);
      images.forEach((z, k) => paint(canvas, this.data.shape, this.decoder.mean(z)[0].map((x) => 255 * x), k * width));
    }

    settled() {
      const { lengths } = this.read();
      const [path, line] = ["shortest", "straight"].map((name) => lengths[name][this.metric]);
      const unit = this.metric === "euclidean" ? "latent units" : "output units";
      const share = 100 * (1 - path / line || 0);
      this.find(".said").textContent =
        `By the ${METRICS[this.metric]}${this.metric === "mean" ? ", the" : " metric, the"} shortest path is ${number(path)} ${unit} long, ` +
        `the straight line ${number(line)}: ${share < 0.05 ? "no shorter" : `${share.toFixed(1)} % shorter`}.`;
      this.root.setAttribute("aria-busy", "false");
    }
  }

  document.querySelectorAll(".explorer").forEach((root) => {
    window.latentExplorer = new Explorer(root);
  });
}
