// What several scripts of a page share: elements, numbers as text, packed bytes, and images on a canvas.
{
  const made = (node, attributes, children) => {
    Object.entries(attributes).forEach(([key, value]) => node.setAttribute(key, value));
    node.append(...children);
    return node;
  };

  window.shared = {
    element: (name, attributes = {}, ...children) => made(document.createElement(name), attributes, children),
    drawn: (name, attributes = {}, ...children) => made(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children),
    number: (x) => (Math.abs(x) >= 1000 ? x.toFixed(0) : x.toPrecision(3)).replace("-", "\u2212"),
    bytes: (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)),

    // Grey or coloured values from 0 to 255, [channel, row, column], on a canvas from a column on.
    paint(canvas, [channels, height, width], values, left = 0) {
      const [image, size] = [new ImageData(width, height), width * height];
      for (let i = 0; i < size; i += 1) {
        const colour = [0, 1, 2].map((c) => Math.round(values[(channels === 3 ? c : 0) * size + i]));
        image.data.set([...colour, 255], 4 * i);
      }
      canvas.getContext("2d").putImageData(image, left, 0);
    },
  };
}
