// Frames to be gone through by hand, that lib/study/frames.py has written: one slider, for each model its image there and
// a marker on its curve, and, where there are several scenes, what chooses among them.
{
  const [WIDTH, HEIGHT, EDGE] = [400, 160, 24];
  const number = (x) => (Math.abs(x) < 0.005 ? "0" : window.shared.number(x));
  const PATH = { slider: "Along the path", end: "output units", choices: {} };

  class Walk {
    constructor(root) {
      Object.assign(this, PATH, JSON.parse(root.querySelector("script").textContent), { root });
      const all = (key) => this.models.flatMap((model) => model[key]);
      const [low, high, end] = [Math.min(0, ...all("y")), Math.max(0, ...all("y")), Math.max(...all("x"))];
      this.place = (x, y) => `${EDGE + ((WIDTH - 2 * EDGE) * x) / end} ${HEIGHT - EDGE - ((HEIGHT - 2 * EDGE) * (y - low)) / (high - low || 1)}`;
      this.pixels = this.models.map(({ frames }) => window.shared.bytes(frames));
      this.steps = this.models[0].y.length / Object.values(this.choices).reduce((count, { length }) => count * length, 1);
      const each = (text) => this.models.map(text).join("");
      root.innerHTML = `${Object.entries(this.choices).map(([name, values]) =>
        `<label>${name} <select>${values.map((value) => `<option>${value}</option>`).join("")}</select></label>`).join("")}
        <label class="slider">${this.slider} <input type="range" min="0" max="${this.steps - 1}" value="0" step="1"></label>
        <div class="models">${each(({ name }) => `<p><canvas role="img"></canvas><span>${name}: <output></output></span></p>`)}</div>
        <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" aria-hidden="true"><path class="zero" d="M${this.place(0, 0)}L${this.place(end, 0)}"/>
          ${each(() => '<path class="curve"/>')}${each(() => '<path class="mark"/>')}
          <text x="${EDGE}" y="14">${number(high)} ${this.unit}</text><text x="${EDGE}" y="${HEIGHT - 6}">${number(low)} ${this.unit}</text>
          <text x="${WIDTH - EDGE}" y="${HEIGHT - 6}" text-anchor="end">${number(end)} ${this.end} \u2192</text></svg>`;
      root.classList.add("live");
      root.addEventListener("input", () => this.show());
      this.show();
    }

    show() {
      const slider = this.root.querySelector("input");
      const at = Number(slider.value);
      const scene = [...this.root.querySelectorAll("select")].reduce((sum, { length, selectedIndex }) => sum * length + selectedIndex, 0);
      const said = this.models.map((model, i) => this.draw(model, i, scene * this.steps, at));
      slider.setAttribute("aria-valuetext", `step ${at} of ${slider.max}: ${said.join(", ")}`);
    }

    // One model at a step of the scene that begins at a sample; what is said of it.
    draw({ name, x, y }, i, first, at) {
      const part = (kind) => this.root.querySelectorAll(kind)[i];
      const places = Array.from({ length: this.steps }, (_, k) => this.place(x[first + k], y[first + k]));
      part(".curve").setAttribute("d", `M${places.join("L")}`);
      part(".mark").setAttribute("d", `M${places[at]}h0`);
      const [channels, height, width] = this.shape;
      const size = channels * height * width;
      Object.assign(part("canvas"), { width, height });
      window.shared.paint(part("canvas"), this.shape, this.pixels[i].subarray((first + at) * size));
      part("canvas").setAttribute("aria-label", `what the model makes there: ${name}`);
      part("output").value = `${number(y[first + at])} ${this.unit}`;
      return `${name} ${part("output").value}`;
    }
  }

  document.querySelectorAll(".frames").forEach((root) => new Walk(root));
}
