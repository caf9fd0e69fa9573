// Shortest paths between two latents, as lib/measures/geodesic.py has them: a straight line and polynomials, by the
// least energy; started from the straight line and from the shortest way over a grid.
{
  const { dot, between } = window.latents;
  const SAMPLES = 33;
  const DEGREE = 8;
  const STEPS = 60;
  const TOLERANCE = 1e-5; // relative decrease of the energy in a step, below which a path has converged

  // Integrals of Legendre polynomials, zero at both ends: [sample][degree].
  const BUMPS = Array.from({ length: SAMPLES }, (_, k) => {
    const x = (2 * k) / (SAMPLES - 1) - 1;
    const p = [1, x];
    for (let n = 1; n <= DEGREE; n += 1) p.push(((2 * n + 1) * x * p[n] - n * p[n - 1]) / (n + 1));
    return Array.from({ length: DEGREE }, (_, i) => p[i + 2] - p[i]);
  });

  function straight([a, b]) {
    return BUMPS.map((_, k) => [0, 1].map((i) => a[i] + ((b[i] - a[i]) * k) / (SAMPLES - 1)));
  }

  // Solve A x = b for a positive definite A, by Gauss-Jordan elimination.
  function solve(matrix, right) {
    const rows = matrix.map((row, i) => [...row, right[i]]);
    rows.forEach((row, i) => {
      const pivot = row[i] || 1e-300;
      for (let j = i; j < row.length; j += 1) row[j] /= pivot;
      rows.forEach((other, k) => {
        const factor = other[i];
        if (k !== i && factor) for (let j = i; j < row.length; j += 1) other[j] -= factor * row[j];
      });
    });
    return rows.map((row) => row[row.length - 1]);
  }

  // The coefficients of the curve nearest to one that is given, [degree][latent] in one list.
  function coefficients(ends, curve) {
    const line = straight(ends);
    const gram = BUMPS[0].map((_, i) => BUMPS[0].map((_, j) => BUMPS.reduce((sum, b) => sum + b[i] * b[j], 0)));
    const parts = [0, 1].map((a) =>
      solve(gram, BUMPS[0].map((_, i) => BUMPS.reduce((sum, b, k) => sum + b[i] * (curve[k][a] - line[k][a]), 0))));
    return parts[0].flatMap((value, i) => [value, parts[1][i]]);
  }

  class Path {
    // From given coefficients, or from the straight line.
    constructor(decoder, metric, ends, c = new Array(2 * DEGREE).fill(0)) {
      Object.assign(this, { decoder, metric, ends, damping: 1e-3, steps: 0, converged: metric === "euclidean" });
      Object.assign(this, this.evaluated(c));
    }

    evaluated(c) {
      const curve = straight(this.ends).map((z, k) =>
        z.map((value, a) => BUMPS[k].reduce((sum, bump, i) => sum + bump * c[2 * i + a], value)));
      const outputs = curve.map((z) => this.decoder.outputs(this.metric, z));
      const energy = outputs.slice(1).reduce(
        (sum, [f], k) => sum + between(f, outputs[k][0], 0, f.length), 0);
      return { c, curve, outputs, energy };
    }

    // Gradient and Gauss-Newton matrix of the sum of squared chords by the coefficients.
    normal() {
      const size = 2 * DEGREE;
      const gradient = new Array(size).fill(0);
      const matrix = gradient.map(() => new Array(size).fill(0));
      const add = (bi, bj, block) => {
        for (let i = 0; i < size; i += 1)
          for (let j = 0; j < size; j += 1) matrix[i][j] += bi[i >> 1] * bj[j >> 1] * block[i & 1][j & 1];
      };
      for (let k = 1; k < SAMPLES - 1; k += 1) {
        const [f, ...j] = this.outputs[k];
        const [g, ...next] = this.outputs[k + 1];
        const [e] = this.outputs[k - 1];
        const pull = Float64Array.from(f, (value, i) => 2 * value - e[i] - g[i]);
        gradient.forEach((_, i) => { gradient[i] += BUMPS[k][i >> 1] * dot(j[i & 1], pull); });
        add(BUMPS[k], BUMPS[k], j.map((a) => j.map((b) => 2 * dot(a, b))));
        const cross = j.map((a) => next.map((b) => -dot(a, b)));
        add(BUMPS[k], BUMPS[k + 1], cross);
        add(BUMPS[k + 1], BUMPS[k], [0, 1].map((a) => [cross[0][a], cross[1][a]]));
      }
      return [gradient, matrix];
    }

    // One step of Levenberg and Marquardt: it is taken if the energy falls.
    step() {
      const [gradient, matrix] = this.system ?? (this.system = this.normal());
      matrix.forEach((row, i) => { row[i] *= 1 + this.damping; });
      const move = solve(matrix, gradient);
      matrix.forEach((row, i) => { row[i] /= 1 + this.damping; });
      const trial = this.evaluated(this.c.map((value, i) => value - move[i]));
      const gain = (this.energy - trial.energy) / (this.energy || 1);
      if (gain >= 0) Object.assign(this, trial, { system: null });
      this.damping *= gain >= 0 ? 0.2 : 8;
      this.steps += 1;
      const still = Math.abs(gain) < TOLERANCE && this.damping < 1;
      this.converged = still || this.damping > 1e9 || this.steps >= STEPS;
    }
  }

  // A grid over the map. The lengths of its edges, of eight to a node, are those of chords.
  class Grid {
    constructor(decoder, [left, right, bottom, top], side) {
      Object.assign(this, { decoder, side, left, bottom, lengths: { mean: [], expected: [] } });
      this.pitch = [(right - left) / (side - 1), (top - bottom) / (side - 1)];
    }

    node(i) {
      const [x, y] = [i % this.side, Math.floor(i / this.side)];
      return [this.left + x * this.pitch[0], this.bottom + y * this.pitch[1]];
    }

    nearest(z) {
      const [x, y] = [z[0] - this.left, z[1] - this.bottom].map((value, a) =>
        Math.min(this.side - 1, Math.max(0, Math.round(value / this.pitch[a]))));
      return y * this.side + x;
    }

    // The next row of nodes; true once all are there. Each node has edges to those before it.
    grow() {
      const [row, before] = [[], this.before ?? []];
      const y = this.lengths.mean.length / (4 * this.side);
      if (y >= this.side) return true;
      const pixels = this.decoder.pixels;
      for (let x = 0; x < this.side; x += 1) {
        row.push(this.decoder.at(this.node(y * this.side + x))[0]);
        [row[x - 1], before[x - 1], before[x], before[x + 1]].forEach((other) => {
          const mean = other ? between(row[x], other, 0, pixels) : Infinity;
          const rest = other ? between(row[x], other, pixels, 2 * pixels) : Infinity;
          this.lengths.mean.push(Math.sqrt(mean));
          this.lengths.expected.push(Math.sqrt(mean + rest));
        });
      }
      this.before = row;
      return false;
    }

    edges(i) {
      const back = [-1, -this.side - 1, -this.side, -this.side + 1];
      return back.flatMap((offset, k) => [[i + offset, 4 * i + k], [i - offset, 4 * (i - offset) + k]]);
    }

    // The shortest way between two latents, by Dijkstra, as a curve of samples at equal distances along it.
    way(metric, [a, b]) {
      const lengths = this.lengths[metric];
      const [from, to] = [this.nearest(b), this.nearest(a)];
      const distance = new Float64Array(this.side ** 2).fill(Infinity);
      const back = new Int32Array(distance.length);
      const open = new Set([from]);
      distance[from] = 0;
      for (let i = from; i !== to; i = [...open].reduce((a, b) => (distance[b] < distance[a] ? b : a))) {
        open.delete(i);
        for (const [j, edge] of this.edges(i)) {
          const far = distance[i] + (lengths[edge] ?? Infinity);
          if (far < distance[j]) {
            distance[j] = far;
            back[j] = i;
            open.add(j);
          }
        }
      }
      const nodes = [to];
      while (nodes[nodes.length - 1] !== from) nodes.push(back[nodes[nodes.length - 1]]);
      const along = nodes.map((i) => distance[to] - distance[i]);
      return resampled([a, ...nodes.slice(1, -1).map((i) => this.node(i)), b], along);
    }
  }

  function resampled(points, along) {
    if (points.length < 3) return straight([points[0], points[points.length - 1]]);
    let piece = 0;
    return BUMPS.map((_, k) => {
      const target = (along[along.length - 1] * k) / (SAMPLES - 1);
      while (piece < points.length - 2 && along[piece + 1] < target) piece += 1;
      const share = Math.min(1, (target - along[piece]) / (along[piece + 1] - along[piece] || 1));
      return [0, 1].map((a) => points[piece][a] + share * (points[piece + 1][a] - points[piece][a]));
    });
  }

  Object.assign(window.latents, { straight, coefficients, Path, Grid });
}
