"""ComfyUI's frontend as a visitor uses it: drop a file, press Run, read what is shown."""

import itertools
import json
from pathlib import Path

from real_server import succeeded

TEMPLATES = Path(__file__).parents[2] / "workflows"

# Headless, and asking nothing of the network beside the page. Without the zygote a page's process is started, not
# forked: the forked ones crashed or hung now and then in a virtual machine (4 of 800 pages, none of 2,300 without).
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--no-zygote",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
]
WINDOWS = [(1600, 1000), (1920, 950)]
VIEWS = {"classic": False, "Nodes 2.0": True}

# The page is covered while it loads; a first visit ends with the templates, another one with a graph.
READY = """() => window.app?.vueAppReady && app.extensionManager.workflow.activeWorkflow
    && !document.querySelector(".p-blockui-mask")
    && (app.graph.nodes.length || document.querySelector("[role=dialog]"))"""
DROP = """([name, text]) => {
    const data = new DataTransfer()
    data.items.add(new File([text], name, {type: "application/json"}))
    const canvas = document.querySelector("#graph-canvas")
    for (const event of ["dragenter", "dragover", "drop"])
        canvas.dispatchEvent(new DragEvent(
            event, {dataTransfer: data, bubbles: true, cancelable: true, clientX: 900, clientY: 500}))
}"""
OPENED = """([name, nodes]) => app.extensionManager.workflow.activeWorkflow?.filename === name.replace(/[.]app$/, "")
    && app.graph.nodes.length === nodes
    && !app.configuringGraph"""
# A node whose type the frontend does not know, an input without the link that its output says it has, or the reverse.
BROKEN = """() => {
    const found = []
    for (const node of app.graph.nodes) {
        if (!(node.type in LiteGraph.registered_node_types)) found.push(`${node.type} is missing`)
        if (node.has_errors) found.push(`${node.type} ${node.id} is marked red`)
        for (const [slot, input] of (node.inputs ?? []).entries()) {
            const link = input.link == null ? null : app.graph.links.get(input.link)
            const arrives = link && link.target_id == node.id && link.target_slot == slot
            if (input.link != null && !(arrives && app.graph.getNodeById(link.origin_id)))
                found.push(`${node.type} ${node.id}: ${input.name} has no link`)
        }
    }
    return found
}"""
LINKS = (
    "() => [...app.graph.links.values()].map(link => [link.origin_id, link.origin_slot, link.target_id, "
    "link.target_slot].map(String)).sort()"
)
BOXES = """() => app.graph.nodes.map(node => ({
    title: `${node.title} ${node.id}`, box: [...node.boundingRect], least: [...node.computeSize()], size: [...node.size]
}))"""
# Nodes that reach out of the window.
OUTSIDE = """() => {
    const {scale, offset: [right, down]} = app.canvas.ds
    return app.graph.nodes.filter(node => {
        const [x, y, width, height] = node.boundingRect
        const [left, top] = [(x + right) * scale, (y + down) * scale]
        return left < 0 || top < 0 || left + width * scale > innerWidth || top + height * scale > innerHeight
    }).map(node => `${node.type} ${node.id}`)
}"""
# Nodes 2.0 has drawn each node, and measured it.
DRAWN = "() => app.graph.nodes.every(node => document.querySelector(`[data-node-id='${node.id}']`)?.offsetHeight)"
# What Nodes 2.0 makes of each, in pixels of the window.
DRAWN_BOXES = """() => app.graph.nodes.map(node => {
    const {x, y, width, height} = document.querySelector(`[data-node-id='${node.id}']`).getBoundingClientRect()
    return {title: `${node.title} ${node.id}`, box: [x, y, width, height]}
})"""
# Zoomed out, the frontend hides the text of a note.
LOOK_AT = """id => {
    const node = app.graph.getNodeById(id)
    app.canvas.ds.scale = 1
    app.canvas.ds.offset = [200 - node.pos[0], 150 - node.pos[1]]
    app.canvas.setDirty(true, true)
}"""
NOTE = """id => {
    const shown = app.graph.getNodeById(id).widgets[0].element.querySelector(".tiptap")
    if (!shown?.lastElementChild || !shown.clientHeight) return null
    const outer = shown.getBoundingClientRect()
    const needed = shown.lastElementChild.getBoundingClientRect().bottom - outer.top
    return {needed: needed * shown.offsetHeight / outer.height, given: shown.clientHeight}
}"""
IMAGES = (
    "() => Object.fromEntries(app.graph.nodes.map(node => [node.id, (node.imgs ?? []).map(image => "
    "image.naturalWidth)]))"
)
# What the pack's nodes say at them, by their ids.
SAID = """() => Object.fromEntries(app.graph.nodes.flatMap(node => (node.widgets ?? [])
    .filter(widget => widget.name === "domain_guidance_message")
    .map(({element}) => [node.id, [...element.firstChild.children].map(line => line.textContent)])))"""
SET = """([id, name, value]) => {
    const widget = app.graph.getNodeById(id).widgets.find(widget => widget.name === name)
    widget.value = value
}"""


def launch(playwright, program):
    return playwright.chromium.launch(executable_path=str(program), args=FLAGS, headless=True)


class Frontend:
    """One page. `errors` are the exceptions that no one caught in it."""

    def __init__(self, page, address):
        self.page, self.errors = page, []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(address)
        page.wait_for_function(READY)

    def drop(self, name, workflow):
        """Drop a workflow on the canvas as the file `name`.json and wait until it is open."""
        self.page.evaluate(DROP, [f"{name}.json", json.dumps(workflow)])
        self.page.wait_for_function(OPENED, arg=[name, len(workflow["nodes"])])

    def drop_template(self, name):
        """Drop a template of the pack, also an app, as a graph, and answer with its workflow."""
        workflow = json.loads((TEMPLATES / f"{name}.json").read_text(encoding="utf-8"))
        workflow["extra"].pop("linearMode", None)
        self.drop(name, workflow)
        return workflow

    def nodes_2(self, on):
        self.page.evaluate("on => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)", on)

    def resize(self, width, height):
        self.page.set_viewport_size({"width": width, "height": height})

    def wait_until_drawn(self, nodes_2):
        """Wait for the nodes of either view, and for the frame after."""
        if nodes_2:
            self.page.wait_for_function(DRAWN)
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def pictured(self, folder, name):
        """The nodes' boxes in both windows and both views, each of which is pictured in `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        try:
            for window, (view, nodes_2) in itertools.product(WINDOWS, VIEWS.items()):
                self.resize(*window)
                self.nodes_2(nodes_2)
                self.wait_until_drawn(nodes_2)
                self.page.wait_for_timeout(500)  # until its pictures are there
                self.page.screenshot(path=folder / f"{name} {window[0]} {view}.png")
                yield self.page.evaluate(DRAWN_BOXES) if nodes_2 else self.boxes()
        finally:
            self.nodes_2(False)

    def outside(self):
        """The nodes that the window does not hold."""
        return self.page.evaluate(OUTSIDE)

    def broken(self):
        return self.page.evaluate(BROKEN)

    def links(self):
        return self.page.evaluate(LINKS)

    def prompt(self):
        """The API prompt that Run would send."""
        return self.page.evaluate("app.graphToPrompt().then(prompt => prompt.output)")

    def set_widget(self, node_id, name, value):
        self.page.evaluate(SET, [node_id, name, value])

    def change_inputs(self, prompt, wanted):
        """Set what an API prompt of this graph has otherwise than another one."""
        for node, content in wanted.items():
            for name, value in content["inputs"].items():
                if value != prompt[node]["inputs"][name]:
                    self.set_widget(node, name, value)

    def run(self):
        self.page.get_by_test_id("queue-button").click()

    def run_to_end(self, server):
        """Press Run and answer with that prompt's history record, once it is there: as long as the server lives, since
        how long a prompt takes is the machine's affair.
        """
        before = set(server.get("/history"))
        self.run()
        while not (new := [record for key, record in server.get("/history").items() if key not in before]):
            server.check_alive("making a prompt")
            assert not self.error_overlay().count(), self.error_overlay().all_inner_texts()
            self.page.wait_for_timeout(200)
        return new[0]

    def make(self, server):
        """As `run_to_end`, for a prompt that has to succeed."""
        return succeeded(self.run_to_end(server))

    def wait_for_images(self, nodes, seconds=180):
        """Wait until every one of `nodes` (ids) shows a loaded picture."""
        condition = (
            f"nodes => {{ const shown = ({IMAGES})(); return nodes.every(id => shown[id].length && "
            f"shown[id].every(width => width > 0)) }}"
        )
        self.page.wait_for_function(condition, arg=nodes, timeout=seconds * 1000, polling=500)

    def draws_text(self):
        """Far out the frontend leaves out titles and values."""
        return not self.page.evaluate("app.canvas.low_quality")

    def boxes(self):
        """Of the classic view: title, place and size of every node."""
        return self.page.evaluate(BOXES)

    def note_heights(self, node_id):
        """The height of a note's text and of its node's inside, in the graph's units: `{"needed": ..., "given":
        ...}`.
        """
        self.page.evaluate(LOOK_AT, node_id)
        return self.page.wait_for_function(NOTE, arg=node_id).json_value()

    def select(self, node_id):
        self.page.evaluate("id => app.canvas.selectNode(app.graph.getNodeById(id))", node_id)

    def dialogs(self):
        return self.page.get_by_role("dialog")

    def error_overlay(self):
        """The notice in the corner: missing nodes, missing models, a failed run."""
        return self.page.get_by_test_id("error-overlay")

    def browse_templates(self):
        """Menu > Browse Templates, unless the first visit has opened them itself."""
        if not self.dialogs().count():
            self.page.locator(".comfy-menu-button-wrapper").click()
            self.page.get_by_role("menuitem", name="Browse Templates").click()
        self.dialogs().get_by_text("domain-guidance", exact=True).click()


def over_each_other(boxes):
    """Pairs of titles of the boxes, as `Frontend.boxes` gives them, that share a part of the canvas."""
    return [
        (one["title"], other["title"])
        for one, other in itertools.combinations(boxes, 2)
        if _overlap(one["box"], other["box"])
    ]


def _overlap(one, other):
    (x, y, width, height), (u, v, across, down) = one, other
    return x < u + across and u < x + width and y < v + down and v < y + height
