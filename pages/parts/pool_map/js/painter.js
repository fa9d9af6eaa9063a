// Draws the pairs with WebGL2: 6 bytes a pair on the graphics card, one draw call whatever their number.

const VERTEX = `#version 300 es
precision highp float;
layout(location = 0) in vec2 place;   // 0..1 on the layout's square
layout(location = 1) in uint code;    // which ink
layout(location = 2) in uint flags;   // 1 filtered out, 2 selected
uniform vec4 view;                    // place * view.xy + view.zw = clip space
uniform float size;
uniform float opacity;
uniform bool choosing;                // something is selected: the rest steps back
uniform bool filtering;               // something is greyed out: what is left stays readable
uniform vec3 ground;
uniform vec3 grey;
uniform sampler2D palette;
out vec4 ink;
out float reach;
void main() {
  bool hidden = (flags & 1u) != 0u;
  bool chosen = (flags & 2u) != 0u;
  vec3 colour = texelFetch(palette, ivec2(int(code), 0), 0).rgb;
  float layer = chosen ? -0.5 : 0.0;
  float alpha = opacity;
  float side = size;
  if (filtering && !choosing) { alpha = max(opacity, 0.85); side = size * 1.35 + 0.6; }
  if (choosing && chosen) { alpha = max(opacity, 0.85); side = size * 1.35 + 0.6; }
  if (choosing && !chosen) { colour = mix(colour, ground, filtering ? 0.2 : 0.6); alpha = opacity * (filtering ? 0.85 : 0.55); layer = 0.3; }
  if (hidden) { colour = grey; alpha = opacity * (chosen ? 0.45 : 0.2); layer = chosen ? 0.2 : 0.6; side = size * 0.75; }
  gl_Position = vec4(place * view.xy + view.zw, layer, 1.0);
  gl_PointSize = side;
  reach = side;
  ink = vec4(colour, alpha);
}`;

const FRAGMENT = `#version 300 es
precision mediump float;
in vec4 ink;
in float reach;
out vec4 colour;
void main() {
  float cover = 1.0;
  if (reach > 1.6) {
    float far = length(gl_PointCoord - 0.5) * reach;
    cover = clamp(reach * 0.5 - far + 0.25, 0.0, 1.0);
    if (cover < 0.15) discard;
  }
  float alpha = ink.a * cover;
  colour = vec4(ink.rgb * alpha, alpha);
}`;

class Painter {
  constructor(canvas) {
    this.canvas = canvas;
    this.pairs = 0;
    this.masked = false;
    this.choosing = false;
    this.filtering = false;
    const gl = canvas.getContext("webgl2", { alpha: true, antialias: false, depth: true, premultipliedAlpha: true, powerPreference: "low-power" });
    if (!gl) throw new Error("WebGL2 is not available");
    this.gl = gl;
    this.#build();
  }

  #build() {
    const gl = this.gl;
    const program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader) || "shader");
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program) || "program");
    gl.useProgram(program);
    this.where = {};
    for (const name of ["view", "size", "opacity", "choosing", "filtering", "ground", "grey", "palette"]) this.where[name] = gl.getUniformLocation(program, name);
    this.buffers = [gl.createBuffer(), gl.createBuffer(), gl.createBuffer()];
    this.palette = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, this.palette);
    for (const side of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, side, gl.NEAREST);
    gl.enable(gl.DEPTH_TEST);
    gl.depthFunc(gl.LEQUAL); // within a layer the later pair blends over the earlier one; greyed pairs never cover others
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
  }

  points(places) { this.pairs = places.length / 2; this.#fill(0, places); }

  codes(codes) { this.#fill(1, codes); }

  flags(flags, { choosing = false, filtering = false } = {}) {
    this.masked = flags !== null;
    this.choosing = choosing;
    this.filtering = filtering;
    if (flags) this.#fill(2, flags);
  }

  inks(rgb) {
    const gl = this.gl;
    gl.bindTexture(gl.TEXTURE_2D, this.palette);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB8, 256, 1, 0, gl.RGB, gl.UNSIGNED_BYTE, rgb);
  }

  #fill(number, data) {
    this.gl.bindBuffer(this.gl.ARRAY_BUFFER, this.buffers[number]);
    this.gl.bufferData(this.gl.ARRAY_BUFFER, data, this.gl.STATIC_DRAW);
  }

  // Draws every `stride`-th pair; a stride above 1 keeps a moving map fluid where there is no graphics card.
  draw({ scale, shift, size, opacity, ground, grey, stride }) {
    const gl = this.gl;
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    if (!this.pairs) return;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[0]);
    gl.enableVertexAttribArray(0);
    gl.vertexAttribPointer(0, 2, gl.UNSIGNED_SHORT, true, 4 * stride, 0);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[1]);
    gl.enableVertexAttribArray(1);
    gl.vertexAttribIPointer(1, 1, gl.UNSIGNED_BYTE, stride, 0);
    if (this.masked) {
      gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[2]);
      gl.enableVertexAttribArray(2);
      gl.vertexAttribIPointer(2, 1, gl.UNSIGNED_BYTE, stride, 0);
    } else {
      gl.disableVertexAttribArray(2);
      gl.vertexAttribI4ui(2, 0, 0, 0, 0);
    }
    gl.uniform4f(this.where.view, scale[0], scale[1], shift[0], shift[1]);
    gl.uniform1f(this.where.size, size);
    gl.uniform1f(this.where.opacity, opacity);
    gl.uniform1i(this.where.choosing, this.choosing ? 1 : 0);
    gl.uniform1i(this.where.filtering, this.filtering ? 1 : 0);
    gl.uniform3fv(this.where.ground, ground);
    gl.uniform3fv(this.where.grey, grey);
    gl.uniform1i(this.where.palette, 0);
    gl.drawArrays(gl.POINTS, 0, Math.floor((this.pairs - 1) / stride) + 1);
  }

  // Calls back when the card has finished what it was told, without making anybody wait for it.
  whenDone(then) {
    const gl = this.gl;
    const fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    gl.flush();
    const look = () => {
      const answer = gl.isContextLost() ? gl.WAIT_FAILED : gl.clientWaitSync(fence, 0, 0);
      if (answer === gl.TIMEOUT_EXPIRED) { setTimeout(look, 4); return; }
      gl.deleteSync(fence);
      if (answer !== gl.WAIT_FAILED) then();
    };
    setTimeout(look, 0);
  }

  close() { this.gl.getExtension("WEBGL_lose_context")?.loseContext(); }
}
