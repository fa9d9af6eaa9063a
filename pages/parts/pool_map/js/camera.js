// Where the map is looked at: a centre and a zoom, and the ways between the layout's square and the screen.

class Camera {
  constructor(memory) {
    Object.assign(this, memory ?? { x: 0.5, y: 0.5, zoom: 1 });
    this.wide = 1;
    this.tall = 1;
  }

  get scale() { return Math.min(this.wide, this.tall) * 0.97 * this.zoom; } // screen pixels for the square's side

  memory() { return { x: this.x, y: this.y, zoom: this.zoom }; }

  home() { Object.assign(this, { x: 0.5, y: 0.5, zoom: 1 }); }

  centre(x, y) { Object.assign(this, { x, y }); }

  toScreen(x, y) { return [this.wide / 2 + (x - this.x) * this.scale, this.tall / 2 - (y - this.y) * this.scale]; }

  toSquare(left, top) { return [this.x + (left - this.wide / 2) / this.scale, this.y - (top - this.tall / 2) / this.scale]; }

  move(right, down) {
    this.x = Math.min(1, Math.max(0, this.x - right / this.scale));
    this.y = Math.min(1, Math.max(0, this.y + down / this.scale));
  }

  // Zooms by `factor`, keeping what lies under (left, top) where it is.
  zoomAt(factor, left = this.wide / 2, top = this.tall / 2) {
    const [x, y] = this.toSquare(left, top);
    this.zoom = Math.min(400, Math.max(0.7, this.zoom * factor));
    const [x2, y2] = this.toSquare(left, top);
    this.x = Math.min(1, Math.max(0, this.x + x - x2));
    this.y = Math.min(1, Math.max(0, this.y + y - y2));
  }

  // What the painter needs to put the square into clip space.
  clip() {
    const scale = [(2 * this.scale) / this.wide, (2 * this.scale) / this.tall];
    return { scale, shift: [-this.x * scale[0], -this.y * scale[1]] };
  }
}
