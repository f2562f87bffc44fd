// A domain file that a shared workflow names and this machine lacks is named with its base: the host's notice knows its
// name alone. A file of that name which is another one is named, too: many people call theirs "my domain". What is
// said comes from the file's card, noted in the workflow (node.properties.domain_file) wherever the file is there.

import { app } from "../../scripts/app.js"
import { api } from "../../scripts/api.js"
import { allNodes, holders } from "./promoted.js"
import { read } from "./server.js"

// node -> its widget with the file's name, and the model folder that holds the file
const LOADERS = {
    DomainGuidanceLoadUNet: ["unet_name", "diffusion_models"],
    DomainGuidanceLoadAdapter: ["lora_name", "loras"],
    DomainGuidanceLoadSideNetwork: ["side_network", "side_networks"],
}
const asked = new WeakMap() // loader -> the name whose card was read for it last

// None for a file without one, and for one whose card is no JSON, which the server says where the file is loaded.
async function readCard(folder, name) {
    const metadata = await read(`/view_metadata/${folder}?filename=${encodeURIComponent(name)}`)
    try {
        const card = JSON.parse(metadata.domain_guidance ?? "null")
        return typeof card === "object" ? card : null
    } catch {
        return null
    }
}

async function noteCard(node) {
    const [folder, name] = fileOf(node)
    asked.set(node, name)
    if (name === undefined) return
    const card = await readCard(folder, name).catch(() => undefined)
    // The server did not answer, which the frontend says itself, or another file was chosen meanwhile.
    if (card === undefined || fileOf(node)[1] !== name) return
    if (card) {
        const { fingerprint, base_name: base, base_fingerprint } = card
        const noted = node.properties.domain_file
        if (noted?.name === name && noted.fingerprint && noted.fingerprint !== fingerprint)
            tellOfAnother(name, noted, card)
        node.properties.domain_file = { name, fingerprint, base, base_fingerprint }
    } else if (node.properties.domain_file?.name !== name) delete node.properties.domain_file
}

// The folder, and the name that is chosen. A node has one note: of a loader in a subgraph that a workflow has several
// times, it is of the first one's file.
function fileOf(node) {
    const [widget, folder] = LOADERS[node.comfyClass]
    return [folder, holders(node, widget)[0]?.value]
}

// The list may be a function, or come from elsewhere later: then nobody can tell yet.
function isListed(node, name) {
    const widget = node.widgets.find(({ name }) => name === LOADERS[node.comfyClass][0])
    const { values: given } = widget.options
    const values = typeof given === "function" ? given(widget, node) : given
    return !Array.isArray(values) || values.includes(name)
}

function isMissing(node) {
    const [, name] = fileOf(node)
    return name !== undefined && node.properties.domain_file?.name === name && !isListed(node, name)
}

function tell(node) {
    const [folder] = fileOf(node)
    const { name, fingerprint, base, base_fingerprint } = node.properties.domain_file
    app.extensionManager.toast.add({
        severity: "warn",
        summary: "A domain file is missing",
        detail: `'${name}' (fingerprint ${fingerprint || "unknown"}) is not on this machine. It is a domain of ` +
            `'${base || "a base without a name"}' (fingerprint ${base_fingerprint}): put it into models/${folder} ` +
            "and press R, or choose another domain of that base.",
        life: 20000, // it stands over the host's own notice
    })
}

function tellOfAnother(name, noted, { fingerprint, base_name, base_fingerprint }) {
    const otherBase = noted.base_fingerprint !== base_fingerprint
    const base = otherBase ? ` It belongs to another base, '${base_name || base_fingerprint}'; the workflow's ` +
        `file belongs to '${noted.base || noted.base_fingerprint}'.` : ""
    app.extensionManager.toast.add({
        severity: otherBase ? "warn" : "info",
        summary: "Another domain file of the same name",
        detail: `The '${name}' on this machine (fingerprint ${fingerprint}) is not the one that this workflow was ` +
            `saved with (${noted.fingerprint}): it was trained further, or by somebody else.${base}`,
        life: 20000,
    })
}

app.registerExtension({
    name: "DomainGuidance.MissingDomain",
    setup() {
        // A file that is chosen at a subgraph is no event at the loader within.
        api.addEventListener("graphChanged", () => {
            for (const node of allNodes())
                if (node.comfyClass in LOADERS && fileOf(node)[1] !== asked.get(node)) noteCard(node)
        })
    },
    nodeCreated(node) {
        if (!(node.comfyClass in LOADERS)) return
        const widget = node.widgets.find(({ name }) => name === LOADERS[node.comfyClass][0])
        noteCard(node) // of the file that a new node names without being asked
        const chosen = widget.callback
        widget.callback = function (...values) {
            noteCard(node)
            return chosen?.apply(this, values)
        }
    },
    loadedGraphNode(node) {
        if (!(node.comfyClass in LOADERS)) return
        if (isMissing(node)) tell(node)
        else noteCard(node)
    },
})
