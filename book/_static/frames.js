// A path to be walked by hand, from the frames that lib/study/frames.py has written: one slider, for each model its image
// there and a marker on its curve.
{
  const [WIDTH, HEIGHT, EDGE] = [400, 160, 24];
  const number = (x) => (Math.abs(x) < 0.005 ? "0" : x.toPrecision(3)).replace("-", "\u2212");

  class Walk {
    constructor(root) {
      Object.assign(this, JSON.parse(root.querySelector("script").textContent));
      const all = (key) => this.models.flatMap((model) => model[key]);
      const [low, high] = [Math.min(...all("y")), Math.max(...all("y"))];
      const end = Math.max(...all("x"));
      this.place = (x, y) => `${EDGE + ((WIDTH - 2 * EDGE) * x) / end} ${HEIGHT - EDGE - ((HEIGHT - 2 * EDGE) * (y - low)) / (high - low || 1)}`;
      this.pixels = this.models.map(({ frames }) => Uint8Array.from(atob(frames), (letter) => letter.charCodeAt(0)));
      const last = this.models[0].y.length - 1;
      root.innerHTML = `
        <label>Along the path <input type="range" min="0" max="${last}" value="0" step="1"></label>
        <div class="models">${this.models.map(({ name }) => `<p><canvas role="img"></canvas><span>${name}: <output></output></span></p>`).join("")}</div>
        <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" aria-hidden="true"><path class="zero" d="M${this.place(0, 0)}L${this.place(end, 0)}"/>${this.models.map(({ x, y }) =>
          `<path class="curve" d="M${x.map((each, k) => this.place(each, y[k])).join("L")}"/>`).join("")}${this.models.map(() => '<path class="mark"/>').join("")}
          <text x="${EDGE}" y="14">${number(high)} ${this.unit}</text><text x="${EDGE}" y="${HEIGHT - 6}">${number(low)} ${this.unit}</text>
          <text x="${WIDTH - EDGE}" y="${HEIGHT - 6}" text-anchor="end">${number(end)} output units \u2192</text></svg>`;
      root.classList.add("live");
      this.root = root;
      this.slider = root.querySelector("input");
      this.slider.addEventListener("input", () => this.show());
      this.show();
    }

    show() {
      const at = Number(this.slider.value);
      const said = this.models.map((model, i) => this.draw(model, i, at));
      this.slider.setAttribute("aria-valuetext", `step ${at} of ${this.slider.max}: ${said.join(", ")}`);
    }

    // One model at a step; what is said of it.
    draw({ name, x, y }, i, at) {
      const [channels, height, width] = this.shape;
      const size = height * width;
      const image = new ImageData(width, height);
      const from = at * channels * size;
      for (let k = 0; k < size; k += 1) {
        const colour = [0, 1, 2].map((c) => this.pixels[i][from + (channels === 3 ? c : 0) * size + k]);
        image.data.set([...colour, 255], 4 * k);
      }
      const canvas = this.root.querySelectorAll("canvas")[i];
      Object.assign(canvas, { width, height });
      canvas.getContext("2d").putImageData(image, 0, 0);
      canvas.setAttribute("aria-label", `what the model makes there: ${name}`);
      this.root.querySelectorAll(".mark")[i].setAttribute("d", `M${this.place(x[at], y[at])}h0`);
      this.root.querySelectorAll("output")[i].value = `${number(y[at])} ${this.unit}`;
      return `${name} ${number(y[at])} ${this.unit}`;
    }
  }

  document.querySelectorAll(".frames").forEach((root) => new Walk(root));
}
