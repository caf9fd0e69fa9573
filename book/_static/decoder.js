// The decoder of a stochastic autoencoder on two latents (lib/models/stochastic.py, with the RBF precision): mean and
// standard deviation of every pixel, their derivatives by the latents, lengths of curves, and the measure.
{
  // Rounded numbers, as lib/models/rounded.py packs them: 16-bit integers, times a scale.
  function unpack({ scale, data }) {
    return Float32Array.from(new Int16Array(window.shared.bytes(data).buffer), (integer) => integer * scale);
  }

  // W x + b, and W applied to both columns of the derivative of x. A row of W belongs to an output.
  function affine(weight, bias, [x, u, v]) {
    const [y, du, dv] = [0, 1, 2].map(() => new Float64Array(bias.length));
    const width = x.length;
    for (let row = 0, at = 0; row < bias.length; row += 1) {
      let sum = bias[row];
      let su = 0;
      let sv = 0;
      for (let column = 0; column < width; column += 1, at += 1) {
        const w = weight[at];
        sum += w * x[column];
        su += w * u[column];
        sv += w * v[column];
      }
      y[row] = sum;
      du[row] = su;
      dv[row] = sv;
    }
    return [y, du, dv];
  }

  // A function of every number; slope is its derivative, of the argument and the value.
  function applied([x, u, v], value, slope) {
    for (let i = 0; i < x.length; i += 1) {
      const y = value(x[i]);
      const s = slope(x[i], y);
      x[i] = y;
      u[i] *= s;
      v[i] *= s;
    }
    return [x, u, v];
  }

  const sigmoid = (x) => 1 / (1 + Math.exp(-x));

  class LatentDecoder {
    constructor(data) {
      this.layers = data.layers.map(([weight, bias]) => [unpack(weight), Float32Array.from(bias)]);
      this.centres = data.centres;
      this.sharpness = data.sharpness;
      this.weights = unpack(data.logWeights).map(Math.exp); // [pixel, centre]
      this.least = new Float32Array(this.weights.length / this.sharpness.length).fill(data.leastPrecision);
      this.floor = data.floor;
      this.pixels = this.least.length;
    }

    // Means, then deviations; and the derivatives of both by the first latent and by the second.
    at(z) {
      const mean = this.mean(z);
      const deviation = this.deviation(z);
      return mean.map((part, index) => {
        const both = new Float64Array(2 * this.pixels);
        both.set(part);
        both.set(deviation[index], this.pixels);
        return both;
      });
    }

    mean([z0, z1]) {
      let mean = [Float64Array.of(z0, z1), Float64Array.of(1, 0), Float64Array.of(0, 1)];
      this.layers.forEach(([weight, bias], index) => {
        mean = affine(weight, bias, mean);
        const last = index === this.layers.length - 1;
        if (last) applied(mean, sigmoid, (_, y) => y * (1 - y));
        else applied(mean, Math.tanh, (_, y) => 1 - y * y);
      });
      return mean;
    }

    deviation([z0, z1]) {
      const floor = this.floor ** 2;
      const precision = affine(this.weights, this.least, this.near(z0, z1));
      return applied(precision, (p) => Math.sqrt(1 / p + floor), (p, y) => -0.5 / (p * p * y));
    }

    // How near each centre is, and the derivatives of that.
    near(z0, z1) {
      const [v, du, dv] = [0, 1, 2].map(() => new Float64Array(this.sharpness.length));
      this.sharpness.forEach((sharp, k) => {
        const [x, y] = [z0 - this.centres[2 * k], z1 - this.centres[2 * k + 1]];
        v[k] = Math.exp(-sharp * (x * x + y * y));
        du[k] = -2 * sharp * x * v[k];
        dv[k] = -2 * sharp * y * v[k];
      });
      return [v, du, dv];
    }

    // What a metric measures changes of, with its derivatives: the latents themselves, the mean, or mean and deviation.
    outputs(metric, z) {
      if (metric === "euclidean") return [z, [1, 0], [0, 1]];
      return metric === "mean" ? this.mean(z) : this.at(z);
    }

    // sqrt(det M): the area of outputs that a unit of latent area becomes.
    measure(metric, z) {
      const [, u, v] = this.outputs(metric, z);
      return Math.sqrt(Math.max(0, dot(u, u) * dot(v, v) - dot(u, v) ** 2));
    }

    // The length of a curve by every metric, as a sum of chords.
    lengths(curve) {
      const found = { euclidean: 0, mean: 0, expected: 0 };
      let before = null;
      curve.forEach((z, k) => {
        const [f] = this.at(z);
        if (before) {
          const mean = between(before, f, 0, this.pixels);
          found.euclidean += Math.hypot(z[0] - curve[k - 1][0], z[1] - curve[k - 1][1]);
          found.mean += Math.sqrt(mean);
          found.expected += Math.sqrt(mean + between(before, f, this.pixels, f.length));
        }
        before = f;
      });
      return found;
    }
  }

  function dot(a, b) {
    let sum = 0;
    for (let i = 0; i < a.length; i += 1) sum += a[i] * b[i];
    return sum;
  }

  function between(a, b, from, to) {
    let sum = 0;
    for (let i = from; i < to; i += 1) sum += (a[i] - b[i]) ** 2;
    return sum;
  }

  window.latents = { LatentDecoder, unpack, dot, between };
}
