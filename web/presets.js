// A preset of Train Domain or Adapt Generator fills the fields that it sets; a number entered there makes it 'own'
// again. The numbers come with the node's definition. The server sets them as well, so a prompt from elsewhere means
// the same; so does a subgraph that shows these widgets, whose values no callback tells of (promoted.js).

import { app } from "../../scripts/app.js"

const OWN = "own"
const widgetOf = (node, name) => node.widgets?.find((widget) => widget.name === name)

function presetsOf(node) {
    const { required, optional } = node.constructor.nodeData?.input ?? {}
    return { ...required, ...optional }.preset?.[1]?.presets
}

// widget.callback, after which `act` runs
function after(widget, act) {
    const before = widget.callback
    widget.callback = function (...values) {
        const result = before?.apply(this, values)
        act()
        return result
    }
}

function fill(node, values) {
    for (const [name, value] of Object.entries(values ?? {})) {
        const widget = widgetOf(node, name)
        if (widget) widget.value = value
    }
    node.setDirtyCanvas?.(true, true)
}

app.registerExtension({
    name: "DomainGuidance.Presets",
    nodeCreated(node) {
        const presets = presetsOf(node)
        const preset = presets && widgetOf(node, "preset")
        if (!preset) return
        after(preset, () => fill(node, presets[preset.value]))
        for (const name of Object.keys(Object.values(presets)[0])) {
            const widget = widgetOf(node, name)
            if (widget) after(widget, () => {
                if (preset.value in presets && widget.value !== presets[preset.value][name]) preset.value = OWN
            })
        }
    },
})
